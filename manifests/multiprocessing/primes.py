"""Count primes with a pool, and add up in shared memory under a lock."""

import multiprocessing


def is_prime(number):
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def add(total, count):
    for _ in range(count):
        with total.get_lock():
            total.value += 1


if __name__ == "__main__":
    with multiprocessing.Pool(4) as pool:
        print(sum(pool.map(is_prime, range(10_000))), "primes")
    total = multiprocessing.Value("i", 0)
    processes = [multiprocessing.Process(target=add, args=(total, 500)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(total.value, "additions")
