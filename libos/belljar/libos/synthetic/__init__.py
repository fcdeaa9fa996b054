"""Files of the guest that come from nowhere on the host: parts of /proc and /sys, and of /etc."""
