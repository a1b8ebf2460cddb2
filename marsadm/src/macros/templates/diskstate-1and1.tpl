/* The state of the local data in the older words. */\
%elsif\
{%or{%not{%disk-present{}}}{%not{%is-attach{}}}}{Detached}\
{%not{%is-almost-consistent{}}}{Inconsistent}\
{%not{%work-reached{}}}{Outdated[%outdated-flags-1and1{}]}\
{Uptodate}