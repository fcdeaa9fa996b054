"""Files whose content is made at the moment they are opened, such as the guest's /proc/meminfo."""
