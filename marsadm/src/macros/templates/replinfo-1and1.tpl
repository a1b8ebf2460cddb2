/* Fetch and replay, with a bar: done, fetched, known. */\
\     replaying: %progress{20}  %sprintf{%.2f%%}{%work-percent{}}  (%subst{%human-numbers{}{/}{)}{%replay-pos{}}{%fetch-size{}}}{\\.[0-9]+}{}{g}  logs: [%replay-lognr{}..%fetch-lognr{}]\n\
%fetch-line-1and1{}\
%replay-line-1and1{}