/* Six letters: device and disk, consistent, attached, synced, fetched, replayed. */\
%if{%disk-present{}}{%if{%device-present{}}{D}{d}}{-}\
%elsif{%is-consistent{}}{C}{%disk-present{}}{c}{-}\
%elsif{%and{%todo-attach{}}{%is-attach{}}}{A}{%or{%todo-attach{}}{%is-attach{}}}{a}{-}\
%elsif{%sync-reached{}}{S}{%todo-sync{}}{s}{-}\
%elsif{%fetch-reached{}}{F}{%todo-fetch{}}{f}{-}\
%elsif{%replay-reached{}}{R}{%todo-replay{}}{r}{-}