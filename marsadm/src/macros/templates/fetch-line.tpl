/* fetch in numbers; how old and how late, if that is long. */\
\       > fetch: %human-number{}{}{}{%fetch-rest{}}\
%unless{%fetch-reached{}}{\
  %if{%>={%fetch-age{}}{%{window}}}{ age: %human-seconds{%fetch-age{}}}\
  %if{%>={%fetch-lag{}}{%{window}}}{ lag: %human-seconds{%fetch-lag{}}}\
  %if{%>{%fetch-age{}}{%{stuck-seconds}}}{%warn{fetch of %{res} appears to be stuck for %human-seconds{%fetch-age{}}}}\
}\
\ rate: %human-number{}{}{}{%fetch-rate{}}/s remaining: %human-seconds{%fetch-remain{}}\n