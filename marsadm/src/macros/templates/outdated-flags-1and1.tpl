/* As in the newer layout. */\
%outdated-flags{}