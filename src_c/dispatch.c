/* dispatch.c - the kernel tables of this build, and which of them this processor can run.
 *
 * Built with baseline flags. setup.py defines TDF_HAVE_<ISA> for each it compiles. A new ISA is one
 * block here, one branch of vec.h and one line in setup.py.
 */
#include "tdfast.h"

#ifdef _OPENMP
#include <omp.h>                        /* for the number of threads alone, which its variables and tools set */
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

int tdf_max_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
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
