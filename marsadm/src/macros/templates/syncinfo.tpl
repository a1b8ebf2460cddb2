/* The sync, with a bar. */\
%let{rate}{%human-number{}{}{,}{%sync-rate{}}}\
\     syncing: %progress{20}{%sync-pos{}}{%sync-pos{}}{%sync-size{}}  %sprintf{%.2f%%}{%sync-percent{}}  (%subst{%human-numbers{}{/}{)}{%sync-pos{}}{%sync-size{}}}{\\.[0-9]+}{}{g}\
\  rate: %sprintf{%.2f}{%{rate}{,}{0}} %{rate}{,}{1}/sec  remaining: %human-seconds{%sync-remain{}} hrs\n\
%sync-line{}