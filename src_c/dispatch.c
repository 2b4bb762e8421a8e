/* dispatch.c - the kernel tables of this build, and which of them this processor can run.
 *
 * Built with baseline flags. setup.py defines TDF_HAVE_<ISA> for each it compiles. A new ISA is one
 * line in each of the two lists here, one branch of vec.h and one line in setup.py.
 */
#ifdef __linux__
#define _GNU_SOURCE                     /* sched_getaffinity */
#include <sched.h>
#ifdef TDF_HAVE_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "mode.h"
#include "tdfast.h"

#ifdef _OPENMP
#include <omp.h>                        /* for the number of threads alone: its variables and tools set it */
#endif

#define PROTOTYPE(kernel, args, isa) void tdf_##kernel##_##isa(const args *);
#define MEMBER(kernel, args, isa) .kernel = tdf_##kernel##_##isa,
#define HAS __builtin_cpu_supports

#define TABLE(isa, build, how) \
    {.name = #isa, .products = how, TDF_OTHERS(MEMBER, isa) TDF_PRODUCTS(MEMBER, build)}

/* The tables of an instruction set by precision, with the products of set `low` where that is not the
 * highest, and whether this processor has what it needs. TDF_HIGHEST_ALONE: a build for checks. */
#ifdef TDF_HIGHEST_ALONE
#define LOWER(low)
#define LOWER_TABLES(isa, low)
#else
#define LOWER(low) TDF_PRODUCTS(PROTOTYPE, low##_high) TDF_PRODUCTS(PROTOTYPE, low##_medium)
#define LOWER_TABLES(isa, low) \
    [TDF_HIGH] = TABLE(isa, low##_high, "float32"), [TDF_MEDIUM] = TABLE(isa, low##_medium, "float32")
#endif
#define ISA(isa, low, needs) \
    TDF_KERNELS(PROTOTYPE, isa) \
    LOWER(low) \
    static const tdf_table tables_##isa[TDF_PRECISIONS] = { \
        [TDF_HIGHEST] = TABLE(isa, isa, "float32"), LOWER_TABLES(isa, low)}; \
    static int runs_##isa(void) { return needs; }

TDF_KERNELS(PROTOTYPE, float64)
static const tdf_table table_float64 = TABLE(float64, float64, "float64");
#ifdef TDF_HAVE_BASELINE
ISA(baseline, baseline, 1)
#endif
#ifdef TDF_HAVE_NEON
ISA(neon, neon, 1)
#endif
#ifdef TDF_HAVE_AVX2
ISA(avx2, avx2, HAS("avx2") && HAS("fma"))
#endif
#ifdef TDF_HAVE_AVX512
/* Of lower precision without AMX there is one build of these bits. */
ISA(avx512, avx2, HAS("avx512f") && HAS("avx512bw") && HAS("avx512dq") && HAS("avx512vl") && HAS("fma"))
#endif

#ifdef TDF_HAVE_AMX
#define ARCH_GET_XCOMP_PERM 0x1022      /* of Linux's asm/prctl.h, since 5.16 */
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XTILEDATA 18

TDF_PRODUCTS(PROTOTYPE, amx_high)
TDF_PRODUCTS(PROTOTYPE, amx_medium)
static const tdf_table tables_amx[TDF_PRECISIONS] = {
    [TDF_HIGHEST] = TABLE(avx512, avx512, "float32"), [TDF_HIGH] = TABLE(avx512, amx_high, "AMX"),
    [TDF_MEDIUM] = TABLE(avx512, amx_medium, "AMX")};

/* Whether two tables make the same bits of a product of some size: a processor that does not sum in the order
 * of the manual is not used. */
static int same_product(const tdf_table *one, const tdf_table *other)
{
    enum { M = 13, K = 75, N = 37, PACKED = K * 48 };
    float x[M * K], kernel[K * N], packed[PACKED], y[2][M * N];
    uint32_t state = 1;
    for (int i = 0; i < M * K + K * N; i++) {
        state = state * 1664525u + 1013904223u;
        *(i < M * K ? x + i : kernel + i - M * K) = (float)(int32_t)state;
    }
    for (int i = 0; i < 2; i++) {
        const tdf_table *table = i ? other : one;
        tdf_dense d = {.threads = 1, .act = TDF_LINEAR, .M = M, .K = K, .N = N, .x = x, .kernel = kernel,
                       .packed = packed, .y = y[i]};
        table->dense_pack(&d);
        table->dense_forward(&d);
    }
    return memcmp(y[0], y[1], sizeof y[0]) == 0;
}

/* Whether this processor multiplies tiles of bfloat16, and the system lets this process do so, all of its
 * threads: it wants to be asked first. */
static int runs_amx(void)
{
    unsigned a, b, c, d, rounds;
    uint64_t granted = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1)) return 0;
    if (!__get_cpuid_count(7, 1, &rounds, &b, &c, &d) || !(rounds >> 5 & 1)) return 0;      /* AVX512_BF16 */
    if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA)) return 0;
    return syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &granted) == 0 && granted >> XTILEDATA & 1;
}
#endif

/* The slowest first. */
static const struct {
    const tdf_table *tables;
    int (*runs)(void);
} isas[] = {
#ifdef TDF_HAVE_BASELINE
    {tables_baseline, runs_baseline},
#endif
#ifdef TDF_HAVE_NEON
    {tables_neon, runs_neon},
#endif
#ifdef TDF_HAVE_AVX2
    {tables_avx2, runs_avx2},
#endif
#ifdef TDF_HAVE_AVX512
    {tables_avx512, runs_avx512},
#endif
};

const tdf_table *tdf_float64(void) { return &table_float64; }

const tdf_table *tdf_isa(int i, int precision)
{
    for (size_t k = 0; k < sizeof isas / sizeof *isas; k++) {
        if (!isas[k].runs() || i-- > 0) continue;
#ifdef TDF_HAVE_AMX
        if (precision != TDF_HIGHEST && isas[k].tables == tables_avx512 && runs_amx() &&
            same_product(&tables_amx[precision], &tables_avx512[precision]))
            return &tables_amx[precision];
#endif
        return &isas[k].tables[precision];
    }
    return NULL;
}

#define CASE(kernel, type, isa) case TDF_CALL_##kernel: table->kernel((const type *)args); break;

void tdf_call(const tdf_table *table, int kernel, const void *args)
{
    switch (kernel) { TDF_KERNELS(CASE, any) }
}

#define LOOKS 10000000                  /* nanoseconds from one look at the processors to the next */

static atomic_int granted = INT_MAX;    /* threads, when nobody asked for a number */
static atomic_int told;                 /* somebody did */

#if defined(_OPENMP) && defined(__linux__)
/* How many processors this thread may run on. It may be told of others while it runs. */
static int processors(void)
{
    static _Thread_local int64_t next;
    static _Thread_local int found;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    int64_t now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    if (now < next) return found;
    unsigned long mask[128] = {0};      /* of 8192 processors; cpu_set_t holds 1024 */
    next = now + LOOKS;
    found = 0;
    if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)mask)) return found = INT_MAX;
    for (size_t i = 0; i < sizeof mask / sizeof *mask; i++) found += __builtin_popcountl(mask[i]);
    return found;
}
#elif defined(_OPENMP)
static int processors(void) { return INT_MAX; }
#endif

void tdf_grant_threads(int n, int follow)
{
    atomic_store(&granted, n);
    atomic_store(&told, !follow);
}

int tdf_max_threads(void)
{
#ifdef _OPENMP
    int n = omp_get_max_threads(), most = atomic_load_explicit(&granted, memory_order_relaxed);
    if (n > most) n = most;
    if (n > 1 && !atomic_load_explicit(&told, memory_order_relaxed) && n > (most = processors())) n = most;
    return n;
#else
    return 1;
#endif
}

void tdf_omp_set_threads(int n)
{
#ifdef _OPENMP
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}

long tdf_openmp_version(void)
{
#ifdef _OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}

int tdf_flush_denormals(int flush)
{
    unsigned long mode = mode_read();
    mode_write(flush ? mode | MODE_FLUSH : mode & ~MODE_FLUSH);
    return (mode & MODE_FLUSH) != 0;
}
