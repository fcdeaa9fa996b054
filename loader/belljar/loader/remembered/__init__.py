"""What is kept between runs, so that the next one needs milliseconds; all of it can be made again."""
