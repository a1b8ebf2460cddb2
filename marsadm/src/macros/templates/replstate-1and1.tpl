/* What replication does in the older words. */\
%elsif\
{%not{%disk-present{}}}{NotJoined}\
{%is-primary{}}{Replicating}\
{%not{%is-alive{}}}{PrimaryUnreachable}\
{%and{%not{%sync-reached{}}}{%not{%todo-sync{}}}}{PausedSync}\
{%not{%sync-reached{}}}{Syncing}\
{%not{%todo-replay{}}}{PausedReplay}\
{Replaying}