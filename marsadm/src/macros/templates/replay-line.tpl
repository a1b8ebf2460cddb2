/* replay in numbers; how old, if that is long. */\
\       > replay: %human-number{}{}{}{%replay-rest{}}\
%unless{%replay-reached{}}{\
  %if{%>={%replay-age{}}{%{window}}}{ age: %human-seconds{%replay-age{}}}\
  %if{%>{%replay-age{}}{%{stuck-seconds}}}{%warn{replay of %{res} appears to be stuck for %human-seconds{%replay-age{}}}}\
}\
\ rate: %human-number{}{}{}{%replay-rate{}}/s remaining: %human-seconds{%replay-remain{}}\n