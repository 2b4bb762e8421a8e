/* dispatch.c - the kernel tables of this build, and which of them this processor can run.
 *
 * Built with baseline flags. setup.py defines TDF_HAVE_<ISA> for each it compiles. A new ISA is one
 * block here, one branch of vec.h and one line in setup.py.
 */
#include "tdfast.h"

#ifdef _OPENMP
#include <omp.h>
#ifndef _WIN32
#include <pthread.h>
#endif
#endif

#define PROTOTYPE(kernel, args, isa) void tdf_##kernel##_##isa(const args *);
#define MEMBER(kernel, args, isa) .kernel = tdf_##kernel##_##isa,

TDF_KERNELS(PROTOTYPE, float64)
static const tdf_table table_float64 = {.name = "float64", TDF_KERNELS(MEMBER, float64)};

#ifdef TDF_HAVE_BASELINE
TDF_KERNELS(PROTOTYPE, baseline)
static const tdf_table table_baseline = {.name = "baseline", TDF_KERNELS(MEMBER, baseline)};
#endif
#ifdef TDF_HAVE_NEON
TDF_KERNELS(PROTOTYPE, neon)
static const tdf_table table_neon = {.name = "neon", TDF_KERNELS(MEMBER, neon)};
#endif
#ifdef TDF_HAVE_AVX2
TDF_KERNELS(PROTOTYPE, avx2)
static const tdf_table table_avx2 = {.name = "avx2", TDF_KERNELS(MEMBER, avx2)};
#endif
#ifdef TDF_HAVE_AVX512
TDF_KERNELS(PROTOTYPE, avx512)
static const tdf_table table_avx512 = {.name = "avx512", TDF_KERNELS(MEMBER, avx512)};
#endif

const tdf_table *tdf_float64(void) { return &table_float64; }

const tdf_table *tdf_isa(int i)
{
    const tdf_table *found[4];
    int n = 0;
#ifdef TDF_HAVE_BASELINE
    found[n++] = &table_baseline;
#endif
#ifdef TDF_HAVE_NEON
    found[n++] = &table_neon;
#endif
#ifdef TDF_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[n++] = &table_avx2;
#endif
#ifdef TDF_HAVE_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
        found[n++] = &table_avx512;
#endif
    return i >= 0 && i < n ? found[i] : (const tdf_table *)0;
}

/* A forked child has the thread that called fork alone. GNU's OpenMP does not know: it would wait for ever for the
 * pool that this thread had. So the pool is given back before each fork, and parent and child each start one when
 * they next need it. (LLVM's OpenMP does this itself.) Where that cannot be, the child works in one thread. */
static int keeps_pool, serial;

#if defined(_OPENMP) && !defined(_WIN32)
#if !defined(__clang__) && __GNUC__ >= 9
#pragma weak omp_pause_resource_all     /* the compiler may be newer than the library, which has it since GCC 9 */
#endif

static void before_fork(void)
{
#if defined(__clang__)
    keeps_pool = 0;
#elif __GNUC__ >= 9
    keeps_pool = !omp_pause_resource_all || omp_pause_resource_all(omp_pause_soft) != 0;
#else
    keeps_pool = 1;
#endif
}

static void in_child(void)
{
    if (keeps_pool) serial = 1;
}
#endif

int tdf_watch_forks(void)
{
#if defined(_OPENMP) && !defined(_WIN32)
    return pthread_atfork(before_fork, NULL, in_child);
#else
    return keeps_pool;
#endif
}

int tdf_max_threads(void)
{
#ifdef _OPENMP
    return serial ? 1 : omp_get_max_threads();
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
