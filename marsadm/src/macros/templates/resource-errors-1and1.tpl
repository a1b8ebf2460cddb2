/* As in the newer layout. */\
%resource-errors{}