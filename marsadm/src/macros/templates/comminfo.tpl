/* Messages of the whole host, without those that say that a connection is fine; and a Lamport clock far ahead. */\
%let{text}{%if{%the-global-count{}}{%subst{%the-pretty-global-msg{}\n}{^.* CONNECTED .*\n+}{}{mg}}}\
%if{%{text}}{++++++++++++ Global / Communication Status ++++++++++++\n%{text}}\
%let{slip}{%-{%time{}}{%real-time{}}}\
%if{%>{%{slip}}{%{window}}}{++++++++++++ Lamport time slip: %human-seconds{%{slip}} ++++++++++++\n}\
%let{clocks}{%clock-trouble{}}\
%if{%{clocks}}{%subst{%{clocks}\n}{^(.+)$}{++++++++++++ $1 ++++++++++++}{mg}}