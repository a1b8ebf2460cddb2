/* The device of this host, if there is one. */\
%if{%device-present{}}{  LocalDevice %get-device{} [%device-stats{}]\n}