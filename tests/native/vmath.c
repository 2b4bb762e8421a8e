/* vmath.c - the functions of src_c/vmath.h and act.h against the C library's, over every float32 or over a
 * sample.
 *
 *   vmath STRIDE [NAME ...]      every STRIDE-th float32 (1: all 2^32) of all functions, or of those named
 *
 * Prints for each function the largest error in ulp (units in the last place of the exact result) and where
 * it is, the inputs at which it falls though it should not and by how much, and a hash of all results, which
 * is the same for every instruction set with a fused multiply-add. Fails where an error exceeds its bound, a
 * value at 0 or an infinity is not exact, a NaN is lost, or a step down is larger than allowed.
 *
 * Denormal inputs count as 0 and results below 2^-126 as 0, as in the kernels.
 */
#include <stdio.h>
#include <stdlib.h>

#include "act.h"
#include "vmath.h"

#define BLOCK 4096
#define HUGE_ONE 0x1p128                /* what an infinite float32 stands for */
#define LAST 0x7f800000u                /* the bits of infinity */

typedef struct {
    const char *name;
    void (*kernel)(const float *x, float *y);               /* BLOCK of them */
    void (*reference)(ptrdiff_t n, const float *x, double *y);
    double bound, least;
    double fall;
    float zero, minus, plus;
} function;

#define KERNEL(name, expression, bound, least, fall, zero, minus, plus)                                 \
    static void kernel_##name(const float *in, float *out)                                         \
    {                                                                                              \
        unsigned long mode = v_enter_mode();                                                       \
        for (ptrdiff_t i = 0; i < BLOCK; i += VL) {                                                \
            vf x = v_load(in + i);                                                                 \
            v_store(out + i, expression);                                                          \
        }                                                                                          \
        v_leave_mode(mode);                                                                        \
    }
FUNCTIONS(KERNEL)
#define ROW(name, expression, bound, least, fall, zero, minus, plus) \
    {#name, kernel_##name, reference_##name, bound, least, fall, zero, minus, plus},
static const function functions[] = {FUNCTIONS(ROW)};

static uint32_t bits_of(float x)
{
    uint32_t b;
    memcpy(&b, &x, 4);
    return b;
}

static float float_of(uint32_t b)
{
    float x;
    memcpy(&x, &b, 4);
    return x;
}

/* 1 / ulp of a double r taken as a float32: 2^(23 - exponent), at least that of the smallest normal one. */
static double per_ulp(double r)
{
    uint64_t b, least = (uint64_t)(1023 - 126) << 52;
    double scale;
    memcpy(&b, &r, 8);
    b &= (uint64_t)0x7ff << 52;
    b = b < least ? least : b;
    b = ((uint64_t)(2 * 1023 + 23) << 52) - b;
    memcpy(&scale, &b, 8);
    return scale;
}

typedef struct {
    double error, step;                 /* the largest error and the largest step down, in ulp */
    float error_at, step_at;
    long long falls, lost;              /* steps down; NaN made of numbers and numbers made of NaN */
    uint64_t hash;
} report;

/* The error of each of n results, in ulp. Below `least` any result is as good as 0, beyond float32 it counts
 * as 2^128. */
static void errors_of(ptrdiff_t n, double least, const float *y, const double *exact, double *error)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        double v = y[i], r = exact[i], e;
        v = v > HUGE_ONE ? HUGE_ONE : v < -HUGE_ONE ? -HUGE_ONE : v;
        r = r > HUGE_ONE ? HUGE_ONE : r < -HUGE_ONE ? -HUGE_ONE : r;
        e = fabs(v - r) * per_ulp(r);
        error[i] = fabs(r) < least && fabs(v) <= least ? 0 : e;
    }
}

/* Inputs number first .. first + n - 1 of one sign, each `stride` bits further from 0 than the last. */
static void check_block(const function *f, uint32_t sign, uint64_t first, ptrdiff_t n, uint64_t stride,
                        float *before, report *to)
{
    float x[BLOCK], y[BLOCK];
    double exact[BLOCK], error[BLOCK];
    for (ptrdiff_t i = 0; i < BLOCK; i++) {
        uint64_t b = (first + (uint64_t)(i < n ? i : n - 1)) * stride;
        x[i] = float_of((uint32_t)(b < 0x00800000u ? 0 : b) | sign);       /* a denormal counts as 0 */
    }
    f->kernel(x, y);
    f->reference(n, x, exact);
    errors_of(n, f->least, y, exact, error);
    for (ptrdiff_t i = 0; i < n; i++)
        to->hash += (uint64_t)(y[i] != y[i] ? 0x7fc00000u : bits_of(y[i])) * (2 * bits_of(x[i]) + 1);
    for (ptrdiff_t i = 0; i < n; i++) {
        if (y[i] != y[i]) {
            to->lost += !isnan(exact[i]);
            continue;
        }
        if (error[i] > to->error) to->error = error[i], to->error_at = x[i];
    }
    if (f->fall < 0) return;
    for (ptrdiff_t i = 0; i < n; i++) {
        double step = (double)*before - (double)y[i];
        step = sign ? -step : step;
        if (step > 0) {
            to->falls++;
            step *= per_ulp(y[i]);
            if (step > to->step) to->step = step, to->step_at = x[i];
        }
        *before = y[i];
    }
}

/* All NaN must stay NaN; the hash does not count them. */
static long long lost_nan(const function *f, uint64_t stride)
{
    long long lost = 0;
    for (uint64_t at = LAST + 1; at <= 0x7fffffffu; at += BLOCK * stride) {
        float x[BLOCK], y[BLOCK];
        for (int i = 0; i < BLOCK; i++) {
            uint64_t b = at + (uint64_t)i * stride;
            x[i] = float_of((uint32_t)(b < 0x7fffffffu ? b : 0x7fffffffu) | (i % 2 ? 0x80000000u : 0));
        }
        f->kernel(x, y);
        for (int i = 0; i < BLOCK; i++) lost += y[i] == y[i];
    }
    return lost;
}

static int same(float a, float b) { return a == b || (a != a && b != b); }

static int exact_ends(const function *f)
{
    float x[BLOCK] = {0.0f, -0.0f, -INFINITY, INFINITY}, y[BLOCK];
    f->kernel(x, y);
    int fine = same(y[0], f->zero) && same(y[1], f->zero) && same(y[2], f->minus) && same(y[3], f->plus);
    if (!fine)
        printf("%s: at 0, -0, -inf, inf: %.9g %.9g %.9g %.9g\n", f->name, (double)y[0], (double)y[1],
               (double)y[2], (double)y[3]);
    return fine;
}

#define RUN 256                         /* blocks that one thread takes at a time */

static int check(const function *f, uint64_t stride)
{
    report all = {0};
    int fine = exact_ends(f);
    for (int s = 0; s < 2; s++) {
        uint32_t sign = s ? 0x80000000u : 0;
        uint64_t count = LAST / stride;                     /* up to, and without, infinity */
#pragma omp parallel for schedule(dynamic, 1)
        for (uint64_t start = 0; start < count; start += RUN * BLOCK) {
            report one = {0};
            float x[BLOCK] = {0}, y[BLOCK];
            uint64_t from = start ? start - 1 : 0;
            x[0] = float_of((uint32_t)(from * stride < 0x00800000u ? 0 : from * stride) | sign);
            f->kernel(x, y);
            float before = y[0];
            for (uint64_t at = start; at < count && at < start + RUN * BLOCK; at += BLOCK)
                check_block(f, sign, at, (ptrdiff_t)(count - at < BLOCK ? count - at : BLOCK), stride,
                            &before, &one);
#pragma omp critical
            {
                if (one.error > all.error) all.error = one.error, all.error_at = one.error_at;
                if (one.step > all.step) all.step = one.step, all.step_at = one.step_at;
                all.falls += one.falls;
                all.lost += one.lost;
                all.hash += one.hash;
            }
        }
    }
    all.lost += lost_nan(f, stride < 64 ? 1 : 64);
    printf("%-12s %8.3f ulp at %-14.9g", f->name, all.error, (double)all.error_at);
    if (f->fall >= 0) printf(" falls %lld times", all.falls);
    if (all.falls) printf(", by %.2f ulp at %.9g", all.step, (double)all.step_at);
    if (all.lost) printf(" NaN: %lld wrong", all.lost);
    fine = fine && all.error <= f->bound && all.step <= (f->fall < 0 ? 0 : f->fall) && !all.lost;
    printf("  %016llx%s\n", (unsigned long long)all.hash, fine ? "" : "  FAILED");
    fflush(stdout);
    return fine;
}

int main(int argc, char **argv)
{
    uint64_t stride = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    int fine = stride > 0, found = 0;
    for (size_t i = 0; stride && i < sizeof functions / sizeof *functions; i++) {
        int wanted = argc == 2;
        for (int j = 2; j < argc; j++) wanted |= strcmp(argv[j], functions[i].name) == 0;
        found += wanted;
        if (wanted) fine &= check(&functions[i], stride);
    }
    if (!found) fprintf(stderr, "usage: vmath STRIDE [NAME ...]\n");
    return !(fine && found);
}
