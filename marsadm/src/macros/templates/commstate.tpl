/* Age of the last metadata from the designated primary, if they are old. */\
%if{%>={%alive-age{}}{%{window}}}{%human-seconds{%alive-age{}}}