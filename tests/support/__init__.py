"""What several tests share: running belljar, reading BPF, making trees."""
