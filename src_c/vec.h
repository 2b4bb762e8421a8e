/* vec.h - one set of names for a vector of reals; the only file with intrinsics.
 *
 * A build chooses its vector by the macros the compiler defines for the flags of that build:
 *   TDF_F64         one double       (the build the gradient checks use)
 *   __AVX512F__     16 floats        __AVX2__ + __FMA__   8 floats
 *   __aarch64__      4 floats        __SSE2__             4 floats, no fused multiply-add
 *   none of these    1 float         (any other processor)
 *
 * Every operation works lane by lane and rounds once, so a lane's result does not depend on its
 * place in the vector nor on the vector's width. That is what makes the bits equal on every ISA
 * with a fused multiply-add. v_min and v_max return the second operand if either is NaN.
 *
 * VL     lanes of a vector          PANEL  16: the width every packed layout is padded to
 * real   float, or double with TDF_F64
 */
#ifndef TDF_VEC_H
#define TDF_VEC_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mode.h"
#include "tdfast.h"

#define PANEL 16
#define V_SHIFTER 12582912.0f    /* 1.5 * 2^23: adding it rounds to whole numbers, then in the low bits */
#define V_ONE 0x3f800000         /* the bits of 1.0f */
#define INLINE static inline __attribute__((always_inline, unused))

#if defined(TDF_F64)
/* ------------------------------------------------------------------ one double */
#define VL 1
typedef double vf;
typedef int vm;
INLINE vf v_set1(real a) { return a; }
INLINE vf v_load(const real *p) { return *p; }
INLINE void v_store(real *p, vf a) { *p = a; }
INLINE vf v_add(vf a, vf b) { return a + b; }
INLINE vf v_sub(vf a, vf b) { return a - b; }
INLINE vf v_mul(vf a, vf b) { return a * b; }
INLINE vf v_div(vf a, vf b) { return a / b; }
INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
INLINE vf v_fnma(vf a, vf b, vf c) { return c - a * b; }
INLINE vf v_min(vf a, vf b) { return a < b ? a : b; }
INLINE vf v_max(vf a, vf b) { return a > b ? a : b; }
INLINE vf v_sqrt(vf a) { return sqrt(a); }
INLINE vf v_abs(vf a) { return fabs(a); }
INLINE vf v_neg(vf a) { return -a; }
INLINE vf v_copysign(vf a, vf sign) { return copysign(a, sign); }
INLINE vm v_lt(vf a, vf b) { return a < b; }
INLINE vm v_le(vf a, vf b) { return a <= b; }
INLINE vm v_eq(vf a, vf b) { return a == b; }
INLINE vf v_select(vm m, vf a, vf b) { return m ? a : b; }
INLINE vf v_load_n(const real *p, ptrdiff_t n) { return n > 0 ? *p : 0; }
INLINE void v_store_n(real *p, vf a, ptrdiff_t n) { if (n > 0) *p = a; }

#elif defined(__AVX512F__)
/* ------------------------------------------------------------------ 16 floats */
#include <immintrin.h>
#define VL 16
typedef __m512 vf;
typedef __mmask16 vm;
INLINE vf v_set1(real a) { return _mm512_set1_ps(a); }
INLINE vf v_load(const real *p) { return _mm512_loadu_ps(p); }
INLINE void v_store(real *p, vf a) { _mm512_storeu_ps(p, a); }
INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
INLINE vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
INLINE vf v_abs(vf a) { return _mm512_abs_ps(a); }
INLINE vf v_neg(vf a)
{
    return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32((int)0x80000000)));
}
INLINE vf v_copysign(vf a, vf sign)
{   /* 0xCA: take the second operand where the first is 1, the third where it is 0 */
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_set1_epi32(0x7fffffff),
        _mm512_castps_si512(a), _mm512_castps_si512(sign), 0xCA));
}
INLINE vm v_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
INLINE vm v_le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
INLINE vm v_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
INLINE vf v_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
INLINE vm v_first(ptrdiff_t n) { return (__mmask16)(n > 0 ? (1u << n) - 1u : 0u); }
INLINE vf v_load_n(const real *p, ptrdiff_t n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
INLINE void v_store_n(real *p, vf a, ptrdiff_t n) { _mm512_mask_storeu_ps(p, v_first(n), a); }
INLINE vf v_pow2(vf t)
{   /* 2^n of t = n + V_SHIFTER, for whole n from -126 to 127; 0 for n = -127 */
    return _mm512_castsi512_ps(_mm512_add_epi32(
        _mm512_slli_epi32(_mm512_castps_si512(t), 23), _mm512_set1_epi32(V_ONE)));
}
INLINE vf v_exponent(vf a)
{   /* the whole number e with a = m 2^e and m in [1, 2), for positive normal a */
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(
        _mm512_srli_epi32(_mm512_castps_si512(a), 23), _mm512_set1_epi32(127)));
}
INLINE vf v_mantissa(vf a)
{   /* m of the line above */
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_set1_epi32(0x3f800000),
        _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x007fffff))));
}
INLINE vf v_half_bits(vf a)
{   /* the nearest number whose bits end in 16 zeros, ties to the even one; of NaN, anything */
    __m512i u = _mm512_castps_si512(a);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    u = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    return _mm512_castsi512_ps(_mm512_and_si512(u, _mm512_set1_epi32((int)0xffff0000)));
}

#elif defined(__AVX2__) && defined(__FMA__)
/* ------------------------------------------------------------------ 8 floats */
#include <immintrin.h>
#define VL 8
typedef __m256 vf;
typedef __m256 vm;
INLINE vf v_set1(real a) { return _mm256_set1_ps(a); }
INLINE vf v_load(const real *p) { return _mm256_loadu_ps(p); }
INLINE void v_store(real *p, vf a) { _mm256_storeu_ps(p, a); }
INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
INLINE vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
INLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
INLINE vf v_sign_bit(void) { return _mm256_castsi256_ps(_mm256_set1_epi32((int)0x80000000)); }
INLINE vf v_abs(vf a) { return _mm256_andnot_ps(v_sign_bit(), a); }
INLINE vf v_neg(vf a) { return _mm256_xor_ps(a, v_sign_bit()); }
INLINE vf v_copysign(vf a, vf sign) { return _mm256_or_ps(v_abs(a), _mm256_and_ps(v_sign_bit(), sign)); }
INLINE vm v_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
INLINE vm v_le(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
INLINE vm v_eq(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
INLINE vf v_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
INLINE __m256i v_first(ptrdiff_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vf v_load_n(const real *p, ptrdiff_t n) { return _mm256_maskload_ps(p, v_first(n)); }
INLINE void v_store_n(real *p, vf a, ptrdiff_t n) { _mm256_maskstore_ps(p, v_first(n), a); }
INLINE vf v_pow2(vf t)
{
    return _mm256_castsi256_ps(_mm256_add_epi32(
        _mm256_slli_epi32(_mm256_castps_si256(t), 23), _mm256_set1_epi32(V_ONE)));
}
INLINE vf v_exponent(vf a)
{
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(
        _mm256_srli_epi32(_mm256_castps_si256(a), 23), _mm256_set1_epi32(127)));
}
INLINE vf v_mantissa(vf a)
{
    return _mm256_castsi256_ps(_mm256_or_si256(_mm256_set1_epi32(0x3f800000),
        _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x007fffff))));
}
INLINE vf v_half_bits(vf a)
{
    __m256i u = _mm256_castps_si256(a);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    u = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    return _mm256_castsi256_ps(_mm256_and_si256(u, _mm256_set1_epi32((int)0xffff0000)));
}

#elif defined(__aarch64__)
/* ------------------------------------------------------------------ 4 floats, NEON */
#include <arm_neon.h>
#define VL 4
#define V_PARTIAL_BY_COPY
typedef float32x4_t vf;
typedef uint32x4_t vm;
INLINE vf v_set1(real a) { return vdupq_n_f32(a); }
INLINE vf v_load(const real *p) { return vld1q_f32(p); }
INLINE void v_store(real *p, vf a) { vst1q_f32(p, a); }
INLINE vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
INLINE vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
INLINE vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
INLINE vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
INLINE vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
INLINE vf v_fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }
/* A selection keeps a denormal, but v_min and v_max of x86 flush it as all arithmetic does. */
INLINE vf v_flush(vf a)
{
    uint32x4_t zero = vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x80000000u));
    return vbslq_f32(vcaltq_f32(a, vdupq_n_f32(1.17549435e-38f)), vreinterpretq_f32_u32(zero), a);
}
INLINE vf v_min(vf a, vf b) { return v_flush(vbslq_f32(vcltq_f32(a, b), a, b)); }
INLINE vf v_max(vf a, vf b) { return v_flush(vbslq_f32(vcgtq_f32(a, b), a, b)); }
INLINE vf v_sqrt(vf a) { return vsqrtq_f32(a); }
INLINE vf v_abs(vf a) { return vabsq_f32(a); }
INLINE vf v_neg(vf a) { return vnegq_f32(a); }
INLINE vf v_copysign(vf a, vf sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, a); }
INLINE vm v_lt(vf a, vf b) { return vcltq_f32(a, b); }
INLINE vm v_le(vf a, vf b) { return vcleq_f32(a, b); }
INLINE vm v_eq(vf a, vf b) { return vceqq_f32(a, b); }
INLINE vf v_select(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }
INLINE vf v_pow2(vf t)
{
    return vreinterpretq_f32_s32(vaddq_s32(vshlq_n_s32(vreinterpretq_s32_f32(t), 23), vdupq_n_s32(V_ONE)));
}
INLINE vf v_exponent(vf a)
{
    return vcvtq_f32_s32(vsubq_s32(
        vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_f32(a), 23)), vdupq_n_s32(127)));
}
INLINE vf v_mantissa(vf a)
{
    return vreinterpretq_f32_u32(vorrq_u32(vdupq_n_u32(0x3f800000u),
        vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x007fffffu))));
}
INLINE vf v_half_bits(vf a)
{
    uint32x4_t u = vreinterpretq_u32_f32(a), odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    u = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    return vreinterpretq_f32_u32(vandq_u32(u, vdupq_n_u32(0xffff0000u)));
}

#elif defined(__SSE2__)
/* ------------------------------------------------------------------ 4 floats, x86-64 baseline */
#include <emmintrin.h>
#define VL 4
#define V_NO_FMA
#define V_PARTIAL_BY_COPY
typedef __m128 vf;
typedef __m128 vm;
INLINE vf v_set1(real a) { return _mm_set1_ps(a); }
INLINE vf v_load(const real *p) { return _mm_loadu_ps(p); }
INLINE void v_store(real *p, vf a) { _mm_storeu_ps(p, a); }
INLINE vf v_add(vf a, vf b) { return _mm_add_ps(a, b); }
INLINE vf v_sub(vf a, vf b) { return _mm_sub_ps(a, b); }
INLINE vf v_mul(vf a, vf b) { return _mm_mul_ps(a, b); }
INLINE vf v_div(vf a, vf b) { return _mm_div_ps(a, b); }
INLINE vf v_fma(vf a, vf b, vf c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
INLINE vf v_fnma(vf a, vf b, vf c) { return _mm_sub_ps(c, _mm_mul_ps(a, b)); }
INLINE vf v_min(vf a, vf b) { return _mm_min_ps(a, b); }
INLINE vf v_max(vf a, vf b) { return _mm_max_ps(a, b); }
INLINE vf v_sqrt(vf a) { return _mm_sqrt_ps(a); }
INLINE vf v_sign_bit(void) { return _mm_castsi128_ps(_mm_set1_epi32((int)0x80000000)); }
INLINE vf v_abs(vf a) { return _mm_andnot_ps(v_sign_bit(), a); }
INLINE vf v_neg(vf a) { return _mm_xor_ps(a, v_sign_bit()); }
INLINE vf v_copysign(vf a, vf sign) { return _mm_or_ps(v_abs(a), _mm_and_ps(v_sign_bit(), sign)); }
INLINE vm v_lt(vf a, vf b) { return _mm_cmplt_ps(a, b); }
INLINE vm v_le(vf a, vf b) { return _mm_cmple_ps(a, b); }
INLINE vm v_eq(vf a, vf b) { return _mm_cmpeq_ps(a, b); }
INLINE vf v_select(vm m, vf a, vf b) { return _mm_or_ps(_mm_and_ps(m, a), _mm_andnot_ps(m, b)); }
INLINE vf v_pow2(vf t)
{
    return _mm_castsi128_ps(_mm_add_epi32(_mm_slli_epi32(_mm_castps_si128(t), 23), _mm_set1_epi32(V_ONE)));
}
INLINE vf v_exponent(vf a)
{
    return _mm_cvtepi32_ps(_mm_sub_epi32(_mm_srli_epi32(_mm_castps_si128(a), 23), _mm_set1_epi32(127)));
}
INLINE vf v_mantissa(vf a)
{
    return _mm_castsi128_ps(_mm_or_si128(_mm_set1_epi32(0x3f800000),
        _mm_and_si128(_mm_castps_si128(a), _mm_set1_epi32(0x007fffff))));
}
INLINE vf v_half_bits(vf a)
{
    __m128i u = _mm_castps_si128(a);
    __m128i odd = _mm_and_si128(_mm_srli_epi32(u, 16), _mm_set1_epi32(1));
    u = _mm_add_epi32(u, _mm_add_epi32(odd, _mm_set1_epi32(0x7fff)));
    return _mm_castsi128_ps(_mm_and_si128(u, _mm_set1_epi32((int)0xffff0000)));
}

#else
/* ------------------------------------------------------------------ 1 float, any processor */
#define VL 1
#define V_NO_FMA
typedef float vf;
typedef int vm;
INLINE vf v_set1(real a) { return a; }
INLINE vf v_load(const real *p) { return *p; }
INLINE void v_store(real *p, vf a) { *p = a; }
INLINE vf v_add(vf a, vf b) { return a + b; }
INLINE vf v_sub(vf a, vf b) { return a - b; }
INLINE vf v_mul(vf a, vf b) { return a * b; }
INLINE vf v_div(vf a, vf b) { return a / b; }
INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
INLINE vf v_fnma(vf a, vf b, vf c) { return c - a * b; }
INLINE vf v_min(vf a, vf b) { return a < b ? a : b; }
INLINE vf v_max(vf a, vf b) { return a > b ? a : b; }
INLINE vf v_sqrt(vf a) { return sqrtf(a); }
INLINE vf v_abs(vf a) { return fabsf(a); }
INLINE vf v_neg(vf a) { return -a; }
INLINE vf v_copysign(vf a, vf sign) { return copysignf(a, sign); }
INLINE vm v_lt(vf a, vf b) { return a < b; }
INLINE vm v_le(vf a, vf b) { return a <= b; }
INLINE vm v_eq(vf a, vf b) { return a == b; }
INLINE vf v_select(vm m, vf a, vf b) { return m ? a : b; }
INLINE vf v_load_n(const real *p, ptrdiff_t n) { return n > 0 ? *p : 0; }
INLINE void v_store_n(real *p, vf a, ptrdiff_t n) { if (n > 0) *p = a; }
INLINE vf v_pow2(vf t) { return t == V_SHIFTER - 127 ? 0 : ldexpf(1.0f, (int)(t - V_SHIFTER)); }
INLINE vf v_exponent(vf a) { return (float)ilogbf(a); }
INLINE vf v_mantissa(vf a) { return ldexpf(a, -ilogbf(a)); }
INLINE vf v_half_bits(vf a)
{
    uint32_t u;
    memcpy(&u, &a, sizeof u);
    u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
    memcpy(&a, &u, sizeof u);
    return a;
}
#endif

#ifdef V_PARTIAL_BY_COPY
/* v_load_n, v_store_n: the first n lanes (n < VL; none for n <= 0); the other lanes read as 0 and are not
 * written */
INLINE vf v_load_n(const real *p, ptrdiff_t n)
{
    real lane[VL] = {0};
    for (ptrdiff_t i = 0; i < n; i++) lane[i] = p[i];
    return v_load(lane);
}
INLINE void v_store_n(real *p, vf a, ptrdiff_t n)
{
    real lane[VL];
    v_store(lane, a);
    for (ptrdiff_t i = 0; i < n; i++) p[i] = lane[i];
}
#endif

INLINE vf v_zero(void) { return v_set1(0); }

#ifndef TDF_F64
/* The nearest bfloat16, ties to the even one; denormals are taken as 0, and NaN stays NaN. */
INLINE vf v_bf16(vf a)
{
    vf rounded = v_select(v_lt(v_abs(a), v_set1(1.17549435e-38f)), v_zero(), v_half_bits(a));
    return v_select(v_eq(a, a), rounded, v_add(a, a));
}
#endif

#ifdef TDF_AMX
/* The tiles of AMX: registers of up to 16 rows of 64 bytes, with their shapes. They hold nothing between
 * V_TILES_BEGIN and V_TILES_END of different calls. TDF_AMX may be a header that has these operations. */
typedef struct { uint8_t palette, start, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; } v_tiles;

#ifdef TDF_AMX_EMULATION
#include TDF_AMX_EMULATION
#else
#define V_BARRIER __asm__ volatile("" ::: "memory")     /* the compiler's own instructions know no memory */
#define V_TILES_BEGIN(shape) do { V_BARRIER; _tile_loadconfig(shape); } while (0)
#define V_TILES_END() _tile_release()
#define V_TILE_LOAD(t, from, step) do { V_BARRIER; _tile_loadd(t, from, step); } while (0)
#define V_TILE_STORE(t, to, step) do { _tile_stored(t, to, step); V_BARRIER; } while (0)
#define V_TILE_MULTIPLY(c, a, b) _tile_dpbf16ps(c, a, b)
#endif

#ifdef __AVX512BF16__
/* VL numbers as bfloat16, side by side. */
INLINE void v_store_bf16(uint32_t *to, vf a)
{
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(a));
}
/* The pairs of the lanes of two vectors as bfloat16. */
INLINE void v_store_bf16_pairs(uint32_t *to, vf low, vf high)
{
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low), step = _mm512_set1_epi32(0x00010001);
    __m512i j = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i places = _mm512_add_epi32(_mm512_mullo_epi32(j, step), _mm512_set1_epi32(0x00100000));
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(places, both));
}
#else
INLINE void v_store_bf16(uint32_t *to, vf a)
{
    uint32_t bits[VL];
    v_store((real *)bits, v_bf16(a));
    for (int j = 0; j < VL; j += 2) to[j / 2] = bits[j] >> 16 | (bits[j + 1] & 0xffff0000u);
}
INLINE void v_store_bf16_pairs(uint32_t *to, vf low, vf high)
{
    uint32_t bits[2][VL];
    v_store((real *)bits[0], v_bf16(low));
    v_store((real *)bits[1], v_bf16(high));
    for (int j = 0; j < VL; j++) to[j] = bits[0][j] >> 16 | (bits[1][j] & 0xffff0000u);
}
#endif
#endif

/* The first min(n, VL) lanes: a whole vector where there is room for one; none for n <= 0. */
INLINE vf v_get(const real *p, ptrdiff_t n) { return n >= VL ? v_load(p) : v_load_n(p, n); }
INLINE void v_put(real *p, vf a, ptrdiff_t n)
{
    if (n >= VL) v_store(p, a);
    else v_store_n(p, a, n);
}

/* to += from, n elements. */
INLINE void v_add_to(real *restrict to, const real *restrict from, ptrdiff_t n)
{
    ptrdiff_t i = 0;
    for (; i + VL <= n; i += VL) v_store(to + i, v_add(v_load(to + i), v_load(from + i)));
    for (; i < n; i++) to[i] += from[i];
}

/* Kernels compute in a floating-point mode of their own, whatever the caller's is: to the nearest, without
 * traps, and in single precision with denormals as 0. The mode of the thread, with the flags it has raised so
 * far, is saved before and put back after. */
#if defined(TDF_F64)
#define V_MODE MODE_PLAIN
#else
#define V_MODE (MODE_PLAIN | MODE_FLUSH)
#endif
INLINE unsigned long v_enter_mode(void)
{
    unsigned long mode = mode_read();
    mode_write(V_MODE);
    return mode;
}
INLINE void v_leave_mode(unsigned long mode) { mode_write(mode); }

/* Sums and maxima over a row use 16 lanes on every ISA: lane j holds the elements with index
 * j mod 16, and the lanes are folded 16 -> 8 -> 4 -> 2 -> 1. The order never depends on VL. */
typedef struct { vf v[PANEL / VL]; } v16;

INLINE v16 v16_set1(real a)
{
    v16 r;
    for (int s = 0; s < PANEL / VL; s++) r.v[s] = v_set1(a);
    return r;
}
INLINE real v16_sum(v16 a)
{
    real lane[VL];
    for (int w = PANEL / VL / 2; w; w /= 2)             /* whole vectors first, then lanes */
        for (int s = 0; s < w; s++) a.v[s] = v_add(a.v[s], a.v[s + w]);
    v_store(lane, a.v[0]);
    for (int w = VL / 2; w; w /= 2)
        for (int j = 0; j < w; j++) lane[j] += lane[j + w];
    return lane[0];
}
INLINE real v16_max(v16 a)
{
    real lane[VL];
    for (int w = PANEL / VL / 2; w; w /= 2)
        for (int s = 0; s < w; s++) a.v[s] = v_max(a.v[s + w], a.v[s]);
    v_store(lane, a.v[0]);
    for (int w = VL / 2; w; w /= 2)
        for (int j = 0; j < w; j++) lane[j] = lane[j + w] > lane[j] ? lane[j + w] : lane[j];
    return lane[0];
}

#endif
