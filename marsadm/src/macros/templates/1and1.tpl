/* The older layout of one resource. */\
\ \ %{res} %diskstate-1and1{} %replstate-1and1{} %flags-1and1{} %role-1and1{} %primarynode-1and1{}\n\
%if{%and{%not{%is-primary{}}}{%is-attach{}}}{\
  %unless{%sync-threshold-reached{}}{%syncinfo-1and1{}}\
  %unless{%work-threshold-reached{}}{%replinfo-1and1{}}\
}\
%resource-errors-1and1{}