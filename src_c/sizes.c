/* sizes.c - how much memory each kernel needs, in elements. Compiled once: no ISA differs. */
#define TDF_ISA none            /* gemm.h declares products with this suffix; none is called here */
#include "attention.h"
#include "conv.h"
#include "rnn_layout.h"

ptrdiff_t tdf_dense_pack_size(ptrdiff_t K, ptrdiff_t N) { return gemm_pack_size(K, N); }

ptrdiff_t tdf_dense_scratch_size(ptrdiff_t K, ptrdiff_t N, int threads)
{
    return gemm_pack_size(N, K) + threads * gemm_tn_scratch(K);
}

ptrdiff_t tdf_conv_pack_size(const tdf_conv *a)
{
    conv_view w = conv_view_of(a);
    return w.depthwise ? w.K * a->F : a->groups * gemm_pack_size(w.K, w.Fg);
}

ptrdiff_t tdf_conv_infer_size(const tdf_conv *a) { return a->threads * conv_view_of(a).image; }

ptrdiff_t tdf_conv_scratch_size(const tdf_conv *a)
{
    conv_view w = conv_view_of(a);
    return w.transposed + w.parts * w.partial + a->threads * w.each;
}

ptrdiff_t tdf_conv_transpose_size(const tdf_conv *a)
{
    conv_view w = conv_view_of(a);
    return w.transposed + a->threads * conv_transpose_each(&w);
}

ptrdiff_t tdf_attention_scratch_size(const tdf_attention *a)
{
    return a->threads * attention_room_of(a, NULL).size;
}

ptrdiff_t tdf_sums_scratch_size(ptrdiff_t N) { return SUMS_PARTS * N; }
ptrdiff_t tdf_layer_norm_scratch_size(ptrdiff_t N) { return SUMS_PARTS * 2 * N; }

ptrdiff_t tdf_rnn_gates(int cell) { return rnn_cells[cell].gates; }
ptrdiff_t tdf_rnn_biases(int cell) { return rnn_cells[cell].biases; }

/* The panels that the pack kernel of each cell describes. */
ptrdiff_t tdf_rnn_pack_size(const tdf_rnn *a)
{
    ptrdiff_t I = a->I, H = a->H, Hp = ROUND_UP(H, PANEL);
    return (rnn_cells[a->cell].slots + rnn_gates(a) * (I + H)) * Hp;
}

ptrdiff_t tdf_rnn_tape_size(const tdf_rnn *a) { return rnn_layout_of(a, 1, NULL).size; }
ptrdiff_t tdf_rnn_infer_size(const tdf_rnn *a) { return rnn_layout_of(a, 0, NULL).size; }
ptrdiff_t tdf_rnn_scratch_size(const tdf_rnn *a) { return rnn_scratch_of(a, NULL).size; }
