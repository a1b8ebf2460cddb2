/* replay in numbers. */\
\       > replay: %human-number{}{}{}{%replay-rest{}} rate: %human-number{}{}{}{%replay-rate{}}/sec  remaining: %human-seconds{%replay-remain{}} hrs\n