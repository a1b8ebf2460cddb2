/* Who uses the device, and whether its requests get done. */\
%if{%device-opened{}}{\
  Opened, \
  %if{%known-device-mounted{}}{%known-device-mountpoint{}%if{%{verbose}}{ %known-device-fstype{} %known-device-mountflags{}}, }\
  %if{%device-error{}}{DEVICE_ERROR=%device-error{}%errno-text{%device-error{}}, }\
  %device-ops-rate{} IOPS\
  %if{%device-nrflying{}}{\
    , %device-nrflying{} Flying\
    %if{%>={%device-completion-age{}}{%{window}}}{, HANGING age: %human-seconds{%device-completion-age{}}}\
  }\
}{Closed}