/* One resource: its device here, the state of this host's replica, what could be done, what is going on, what went wrong. */\
%device-info{}\
%if{%is-member{}}{\
  \ \ %{res} [%count-resource-peers{}/%count-configured-peers{}] %diskstate{} %replstate{} %flags{} %role{} %primarynode{} %commstate{}\n\
  %let{spare}{%-{%disk-size{}}{%resource-size{}}}\
  %if{%>{%{spare}}{%{threshold}}}{     Hint: you are wasting %human-number{}{}{}{%{spare}} on disk %get-disk{}\n}\
  %let{more}{%-{%resource-possible-size{}}{%resource-size{}}}\
  %if{%>{%{more}}{%{threshold}}}{     Hint: marsadm resize would increase resource %{res} by %human-number{}{}{}{%{more}}\n}\
  %if{%and{%not{%is-primary{}}}{%is-attach{}}}{\
    %unless{%sync-reached{}}{%syncinfo{}}\
    %unless{%work-reached{}}{%replinfo{}}\
  }\
  %resource-errors{}\
}