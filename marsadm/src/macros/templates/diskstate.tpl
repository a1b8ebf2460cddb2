/* The state of the local data. */\
%if{%disk-error{}}{DISK_ERROR=%disk-error{}%errno-text{%disk-error{}} }\
%let{designated}{%todo-primary{}}\
%let{busy}{%if{%is-primary{}}{WriteBack}{Recovery}[%human-number{}{}{}{%writeback-rest{}}]}\
%elsif\
{%not{%get-disk{}}}{NotJoined}\
{%not{%disk-present{}}}{NotPresent}\
{%and{%not{%todo-attach{}}}{%is-attach{}}}{Detaching}\
{%not{%todo-attach{}}}{Detached}\
{%=={%replay-code{}}{-85}}{IncompleteLog[%replay-code{}=%errno-text{%replay-code{}}]}\
{%=={%replay-code{}}{-56}}{UnInitializedLogRecord[%replay-code{}=%errno-text{%replay-code{}}]}\
{%<{%replay-code{}}{0}}{DefectiveLog[%replay-code{}=%errno-text{%replay-code{}}]}\
{%is-orphan{}}{Orphan}\
{%not{%is-attach{}}}{NoAttach}\
{%not{%is-consistent{}}}{%if{%{designated}}{%{busy}}{InConsistent}}\
{%not{%work-reached{}}}{%if{%{designated}}{%{busy}}{OutDated[%outdated-flags{}]}}\
{%and{%get-primary{}}{%is-emergency{%get-primary{}}}}{EmergencyMode}\
{UpToDate}