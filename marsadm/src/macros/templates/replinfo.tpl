/* Fetch and replay, with a bar: done, fetched, known. */\
\     replaying: %progress{20}  %sprintf{%.2f%%}{%work-percent{}}  (%subst{%human-numbers{}{/}{)}{%replay-pos{}}{%fetch-size{}}}{\\.[0-9]+}{}{g}  logs: [%replay-lognr{}%if{%>{%fetch-lognr{}}{%replay-lognr{}}}{::%fetch-lognr{}}%if{%>{%work-lognr{}}{%fetch-lognr{}}}{..%work-lognr{}}]\n\
%fetch-line{}\
%replay-line{}