"""Key slots: each wraps the one volume key for one passphrase, key file, owner's key or sealing key."""
