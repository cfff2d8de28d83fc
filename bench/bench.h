/* What the benchmarks of evidence share. */
#ifndef SR_BENCH_H
#define SR_BENCH_H

#include <time.h>

enum { BENCH_ROUNDS = 15 };

double bench_seconds(clockid_t clock);
/* Sorts them. */
double bench_median(double values[BENCH_ROUNDS]);
/* Runs a program with its output thrown away; wall time, and peak RSS in KiB. */
double bench_run(char *const argv[], long *rss);

/* Searches of an archive's index with so many runs. */
void bench_archive(char *program, unsigned runs);

#endif
