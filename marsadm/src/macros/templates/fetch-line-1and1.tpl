/* fetch in numbers. */\
\       > fetch: %human-number{}{}{}{%fetch-rest{}} rate: %human-number{}{}{}{%fetch-rate{}}/sec  remaining: %human-seconds{%fetch-remain{}} hrs\n