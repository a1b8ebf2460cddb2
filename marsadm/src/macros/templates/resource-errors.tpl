/* Errors and warnings; with -v also status files, with -v -v also the rest. */\
%if{%get-resource-fat-count{}}{FATALS   FILE (%get-resource-fat-count{})%if{%{verbose}}{:\n%get-resource-fat{}\n}{: available with --verbose\n}}\
%if{%the-err-count{}}{ERRORS   LNK  (%the-err-count{}):\n%the-pretty-err-msg{}\n}\
%if{%get-resource-err-count{}}{ERRORS   FILE (%get-resource-err-count{})%if{%{verbose}}{:\n%get-resource-err{}\n}{: available with --verbose\n}}\
%if{%the-wrn-count{}}{WARNINGS LNK  (%the-wrn-count{}):\n%the-pretty-wrn-msg{}\n}\
%if{%and{%{verbose}}{%get-resource-wrn-count{}}}{WARNINGS FILE (%get-resource-wrn-count{}):\n%get-resource-wrn{}\n}\
%if{%>{%{verbose}}{1}}{\
  %if{%the-inf-count{}}{INFOS    LNK  (%the-inf-count{}):\n%the-pretty-inf-msg{}\n}\
  %if{%get-log-status{}}{STATUS   FILE:\n%get-log-status{}\n}\
}