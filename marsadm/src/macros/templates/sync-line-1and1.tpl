/* As in the newer layout. */\
%sync-line{}