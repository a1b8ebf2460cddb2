/* The sync in numbers. */\
\       > sync: %human-numbers{}{}{}{%sync-pos{}}{%sync-size{}} rate: %human-number{}{}{}{%sync-rate{}}/sec  remaining: %human-seconds{%sync-remain{}} hrs\n