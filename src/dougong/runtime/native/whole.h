// Linear layers whose weights are whole numbers of 8 or 4 bits, 32 of which share a scale.
//
// Weights lie in blocks of 16 rows; a block, group by group; a group, four columns by four, and of these the four weights
// of each row side by side, which is how processors multiply bytes: one instruction makes 64 products and adds them up in
// 16 sums. Of four bits, a byte holds a weight of the first 16 columns low and one of the last 16 high. Weights are kept
// without a sign, 128 or 8 more than they are. A last block that is not full ends in rows of zeros.
#pragma once

#include <vector>

#include "linear.h"
#include "program.h"
#include "vectors.h"

constexpr int LANES = 16;
constexpr int64_t AHEAD = 4096;  // bytes of weights that are fetched before they are needed, past the second cache

template <int BITS>
struct Block {  // 16 rows from row n on
    static constexpr int SIZE = LANES * GROUP * BITS / 8;  // bytes of a group
    const uint8_t *weights;
    const uint16_t *scales;
    Block(const Op &op, int64_t n, int64_t groups)
        : weights((const uint8_t *)op.weight + n / LANES * groups * SIZE), scales((const uint16_t *)op.scale + n / LANES * groups * LANES) {}
};

#if defined(__AVX512VNNI__)

// Inputs are made whole numbers of three signed bytes, 32 of which share a scale: 23 bits, as float32 has. Sums within
// a group are exact, so that the answer is what float32 would give, but for its own rounding.
constexpr int BYTES = 3, WHOLE_M = 4;

struct Inputs {
    std::vector<int8_t> bytes;    // (rows, groups, BYTES, GROUP), the least first
    std::vector<int32_t> starts;  // (rows, groups, BYTES), what sums start from, since weights are more than they are
    std::vector<float> scales;    // (rows, groups)

    void set(const float *in, int64_t rows, int64_t inner, int32_t more) {
        constexpr float MOST = 0x7f7f00;  // what three signed bytes can be, with room for rounding
        const int64_t groups = rows * inner / GROUP;
        bytes.resize(groups * BYTES * GROUP), starts.resize(groups * BYTES), scales.resize(groups);
        for (int64_t g = 0; g < groups; g++, in += GROUP) {
            int32_t bits[GROUP], largest = 0, values[GROUP];
            memcpy(bits, in, sizeof bits);
            for (int i = 0; i < GROUP; i++) bits[i] &= 0x7fffffff;
            for (int i = 0; i < GROUP; i++) largest = bits[i] > largest ? bits[i] : largest;  // NaN would be the largest
            float most;
            memcpy(&most, &largest, 4);
            const bool known = largest < 0x7f800000, some = known && most > 1e-30f;
            scales[g] = !known ? NAN : some ? most / MOST : 0;
            const float factor = some ? MOST / most : 0;
            for (int i = 0; i < GROUP; i++) values[i] = some ? (int32_t)nearbyintf(in[i] * factor) : 0;
            for (int p = 0; p < BYTES; p++) {
                int8_t *low = &bytes[(g * BYTES + p) * GROUP];
                int32_t sum = 0;
                for (int i = 0; i < GROUP; i++) {
                    low[i] = (int8_t)values[i];
                    sum += low[i];
                    values[i] = (values[i] - low[i]) >> 8;
                }
                starts[g * BYTES + p] = -more * sum;
            }
        }
    }
};

static inline __m512i multiplied(__m512i sums, __m512i weights, const int8_t *x) {
    int32_t four;
    memcpy(&four, x, 4);
    return _mm512_dpbusd_epi32(sums, weights, _mm512_set1_epi32(four));
}

// A block of weights from row n on by M rows of inputs from row m on.
template <int BITS, int M>
static inline void whole_tile(const Op &op, int64_t n, int64_t m, int64_t last, const Inputs &x) {
    const int64_t groups = op.inner / GROUP;
    Block<BITS> block(op, n, groups);
    const int8_t *bytes = x.bytes.data() + m * groups * BYTES * GROUP;
    const int32_t *starts = x.starts.data() + m * groups * BYTES;
    const float *scales = x.scales.data() + m * groups;
    vf sums[M] = {};
    for (int64_t g = 0; g < groups; g++, block.weights += block.SIZE, block.scales += LANES) {
        __m512i found[M][BYTES];
        for (int j = 0; j < M; j++)
            for (int p = 0; p < BYTES; p++) found[j][p] = _mm512_set1_epi32(starts[(j * groups + g) * BYTES + p]);
        for (int i = 0; i < block.SIZE; i += 64) {
            __builtin_prefetch(block.weights + AHEAD + i, 0, 0);
            const __m512i read = _mm512_loadu_si512(block.weights + i), four = _mm512_set1_epi32(0x0f0f0f0f);
            const __m512i low = _mm512_and_si512(read, four), high = _mm512_and_si512(_mm512_srli_epi32(read, 4), four);
            for (int j = 0; j < M; j++)
                for (int p = 0; p < BYTES; p++) {
                    const int8_t *columns = bytes + ((j * groups + g) * BYTES + p) * GROUP + i / 16;
                    found[j][p] = multiplied(found[j][p], BITS == 8 ? read : low, columns);
                    if (BITS == 4) found[j][p] = multiplied(found[j][p], high, columns + GROUP / 2);
                }
        }
        const vf factor = read(block.scales);
        for (int j = 0; j < M; j++) {
            vf sum = (vf)_mm512_cvtepi32_ps(found[j][2]) * 65536.0f + (vf)_mm512_cvtepi32_ps(found[j][1]) * 256.0f;
            sum += (vf)_mm512_cvtepi32_ps(found[j][0]);
            sums[j] += sum * (factor * scales[j * groups + g]);
        }
    }
    for (int j = 0; j < M; j++)
        for (int i = 0; i < LANES && n + i < last; i++) store(op, n + i, op.out + (m + j) * op.width, sums[j][i]);
}

#else

// Weights are made floats in registers, a vector of rows for each column.
constexpr int WHOLE_M = 4;
typedef uint32_t codes __attribute__((vector_size(VL * 4)));
typedef uint32_t codes_any __attribute__((vector_size(VL * 4), aligned(1)));
typedef int32_t whole __attribute__((vector_size(VL * 4)));

struct Inputs {
    void set(const float *, int64_t, int64_t, int32_t) {}
};

// H vectors of rows of a block from row n on, the first of them that of number h, by M rows of inputs.
template <int BITS, int M, int H>
static inline void vectors_by(const Op &op, int64_t n, int h, const float *in, vf sums[H][M]) {
    const int64_t groups = op.inner / GROUP;
    Block<BITS> block(op, n, groups);
    for (int64_t g = 0; g < groups; g++, block.weights += block.SIZE, block.scales += LANES, in += GROUP) {
        vf found[H][M] = {};
        for (int i = 0; i < block.SIZE; i += 64) {
            __builtin_prefetch(block.weights + AHEAD + i, 0, 0);
            codes read[H];
            for (int v = 0; v < H; v++)
                read[v] = *(const codes_any *)(block.weights + i + (h + v) * VL * 4) ^ (BITS == 8 ? 0x80808080 : 0x88888888);
            for (int k = 0; k < 4; k++)
                for (int part = 0; part < 8 / BITS; part++)  // of a byte, each moved to the top and back for its sign
                    for (int v = 0; v < H; v++) {
                        const whole moved = (whole)(read[v] << (32 - BITS - 8 * k - BITS * part)) >> (32 - BITS);
                        const vf weight = __builtin_convertvector(moved, vf);
                        for (int j = 0; j < M; j++) found[v][j] += weight * in[j * op.inner + i / 16 + k + part * GROUP / 2];
                    }
        }
        for (int v = 0; v < H; v++) {
            const vf factor = read(block.scales + (h + v) * VL);
            for (int j = 0; j < M; j++) sums[v][j] += found[v][j] * factor;
        }
    }
}

template <int BITS, int M>
static inline void whole_tile(const Op &op, int64_t n, int64_t m, int64_t last, const Inputs &) {
    constexpr int H = M == 1 ? LANES / VL : 1;  // as many as there are registers for
    for (int h = 0; h < LANES / VL; h += H) {
        vf sums[H][M] = {};
        vectors_by<BITS, M, H>(op, n, h, op.in + m * op.inner, sums);
        for (int v = 0; v < H; v++)
            for (int j = 0; j < M; j++)
                for (int i = 0, row = n + (h + v) * VL; i < VL && row + i < last; i++)
                    store(op, row + i, op.out + (m + j) * op.width, sums[v][j][i]);
    }
}

#endif

template <int BITS>
static void whole_linear(const Op &op, int64_t first, int64_t last, int64_t rows) {
    static thread_local Inputs x;
    x.set(op.in, rows, op.inner, 1 << (BITS - 1));
    for (int64_t n = first; n < last; n += LANES)
        for (int64_t m = 0, height, tiles = (rows + WHOLE_M - 1) / WHOLE_M; m < rows; m += height, tiles--) {
            height = (rows - m + tiles - 1) / tiles;
            if (height == 1) whole_tile<BITS, 1>(op, n, m, last, x);
            else if (height == 2) whole_tile<BITS, 2>(op, n, m, last, x);
            else if (height == 3) whole_tile<BITS, 3>(op, n, m, last, x);
            else whole_tile<BITS, 4>(op, n, m, last, x);
        }
}

// Row n of a table of whole numbers as floats.
template <int BITS>
static void whole_row(const Op &op, int64_t n, int64_t inner, float *out) {
    Block<BITS> block(op, n, inner / GROUP);
    const int64_t row = n % LANES;
    for (int64_t g = 0; g < inner / GROUP; g++, block.weights += block.SIZE, block.scales += LANES)
        for (int k = 0; k < GROUP; k++) {
            const int part = BITS == 4 && k >= GROUP / 2, at = k - part * GROUP / 2;
            const int code = block.weights[at / 4 * 64 + row * 4 + at % 4] >> 4 * part & ((1 << BITS) - 1);
            *out++ = (code - (1 << (BITS - 1))) * wide(block.scales[row]);
        }
}
