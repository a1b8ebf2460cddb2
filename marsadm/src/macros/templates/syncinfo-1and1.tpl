/* As in the newer layout. */\
%syncinfo{}