/* The switches in the older layout. */\
-%if{%todo-sync{}}{S}{-}%if{%todo-fetch{}}{F}{-}%if{%todo-replay{}}{R}{-}-