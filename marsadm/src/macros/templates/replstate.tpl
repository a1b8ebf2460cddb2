/* What replication does. */\
%elsif\
{%not{%is-module-loaded{}}}{ModuleNotLoaded}\
{%not{%is-alive{%{host}}}}{UnResponsive}\
{%not{%get-disk{}}}{NotJoined}\
{%not{%todo-attach{}}}{NotStarted}\
{%todo-primary{}}{%elsif{%is-emergency{}}{EmergencyMode}{%is-primary{}}{Replicating}{NotYetPrimary}}\
{%and{%not{%sync-reached{}}}{%not{%todo-sync{}}}}{PausedSync}\
{%not{%sync-reached{}}}{Syncing}\
{%not{%todo-fetch{}}}{PausedFetch}\
{%not{%todo-replay{}}}{PausedReplay}\
{%not{%get-primary{}}}{NoPrimaryDesignated}\
{%not{%is-alive{}}}{PrimaryUnreachable}\
{%is-orphan{}}{Orphan}\
{Replaying}