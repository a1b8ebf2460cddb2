/* What this host is, seen from what it should be. */\
%elsif\
{%not{%disk-present{}}}{None}\
{%and{%todo-primary{}}{%is-primary{}}}{%if{%>{%nr-primary{}}{1}}{ForcedPrimary}{Primary}}\
{%todo-primary{}}{NotYetPrimary}\
{%is-primary{}}{RemainsPrimary}\
{Secondary}