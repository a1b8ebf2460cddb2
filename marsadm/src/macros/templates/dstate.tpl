/* Reserved for the administrator. */\
NYI Please override macro \%dstate\{\}