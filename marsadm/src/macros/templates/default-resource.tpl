/* Behind the word `resource` or `guest` in the line above each resource of a list. */\
%{res} %human-number{}{}{}{%resource-size{}} [%count-resource-peers{}/%count-configured-peers{}]