/* What is behind: fetch, replay. */\
%unless{%fetch-reached{}}{F}%unless{%replay-reached{}}{R}