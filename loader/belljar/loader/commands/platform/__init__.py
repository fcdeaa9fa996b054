"""`belljar platform`: the root of trust of this machine. Cold."""
