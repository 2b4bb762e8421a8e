/* sizes.c - how much memory each kernel needs, in elements. Compiled once: no ISA differs. */
#define TDF_ISA none            /* gemm.h declares products with this suffix; none is called here */
#include "gemm.h"

ptrdiff_t tdf_dense_pack_size(ptrdiff_t K, ptrdiff_t N) { return gemm_pack_size(K, N); }

ptrdiff_t tdf_dense_scratch_size(ptrdiff_t K, ptrdiff_t N, int threads)
{
    return gemm_pack_size(N, K) + threads * gemm_tn_scratch(K);
}

ptrdiff_t tdf_lstm_pack_size(ptrdiff_t I, ptrdiff_t H) { return (I + H + 1) * 4 * ROUND_UP(H, PANEL); }

/* See the list of the tape's parts at the top of lstm.c. */
ptrdiff_t tdf_lstm_tape_size(ptrdiff_t B, ptrdiff_t T, ptrdiff_t I, ptrdiff_t H, int fused)
{
    ptrdiff_t Hp = ROUND_UP(H, PANEL);
    return (T + 1) * B * (I + 2 * Hp) + T * B * (fused ? 5 : 9) * Hp;
}

ptrdiff_t tdf_lstm_infer_size(ptrdiff_t B, ptrdiff_t I, ptrdiff_t H, int fused)
{
    ptrdiff_t Hp = ROUND_UP(H, PANEL);
    return B * (2 * (I + Hp) + (fused ? 2 : 11) * Hp);
}

ptrdiff_t tdf_lstm_scratch_size(ptrdiff_t B, ptrdiff_t I, ptrdiff_t H, int threads, int fused)
{
    ptrdiff_t Hp = ROUND_UP(H, PANEL), products = threads * gemm_tn_scratch(I + Hp), rows = fused ? 0 : B * 6 * Hp;
    return 4 * B * Hp + gemm_pack_size(4 * Hp, H) + gemm_pack_size(4 * Hp, I) + (products > rows ? products : rows);
}
