// Linear layers whose weights are float32 or bfloat16, (width, inner) row by row.
#pragma once

#include <vector>

#include "program.h"
#include "vectors.h"

// How VL weights of a row, from column k on, are read. Each kind of storage has its own.

struct Float32 {
    static constexpr int BITS = 32;
    const float *row;
    Float32() = default;
    Float32(const void *weight, const void *, int64_t n, int64_t inner) : row((const float *)weight + n * inner) {}
    vf read(int64_t k) const { return ::read(row + k); }
    float one(int64_t k) const { return row[k]; }
};

struct BFloat16 {
    static constexpr int BITS = 16;
    const uint16_t *row;
    BFloat16() = default;
    BFloat16(const void *weight, const void *, int64_t n, int64_t inner) : row((const uint16_t *)weight + n * inner) {}
    vf read(int64_t k) const { return ::read(row + k); }
    float one(int64_t k) const { return wide(row[k]); }
};

static inline void store(const Op &op, int64_t n, float *out, float sum) {
    if (op.bias) sum += ((const float *)op.bias)[n];
    out[n] = op.flag ? out[n] + sum : sum;
}

// A tile of outputs: N rows of weights by M rows of inputs, all sums in registers.

template <class Weight, int N, int M>
static inline void tile(const Op &op, int64_t n, const float *in, float *out, const char *next, int64_t lines) {
    const int64_t inner = op.inner, whole = inner / VL * VL;
    Weight rows[N];
    for (int i = 0; i < N; i++) rows[i] = Weight(op.weight, op.scale, n + i, inner);
    vf sums[N][M] = {};
    for (int64_t k = 0; k < whole; k += VL) {
        for (int64_t i = 0; i < lines; i++, next += 64) __builtin_prefetch(next, 0, 2);
        vf x[M];
        for (int j = 0; j < M; j++) x[j] = *(const vf_any *)(in + j * inner + k);
        for (int i = 0; i < N; i++) {
            vf w = rows[i].read(k);
            for (int j = 0; j < M; j++) sums[i][j] += w * x[j];
        }
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < M; j++) {
            float sum = total(sums[i][j]);
            for (int64_t k = whole; k < inner; k++) sum += rows[i].one(k) * in[j * inner + k];
            store(op, n + i, out + (int64_t)j * op.width, sum);
        }
}

// One row of weights by one row of inputs: weights are read in the order in which they lie, as memory likes best.
template <class Weight>
static inline float dot(const Op &op, int64_t n, const float *in) {
    const int64_t inner = op.inner, whole = inner / (4 * VL) * (4 * VL);
    const Weight row(op.weight, op.scale, n, inner);
    vf sums[4] = {};
    for (int64_t k = 0; k < whole; k += 4 * VL)
        for (int i = 0; i < 4; i++) sums[i] += row.read(k + i * VL) * read(in + k + i * VL);
    float sum = total(sums[0] + sums[1] + (sums[2] + sums[3]));
    for (int64_t k = whole; k < inner; k++) sum += row.one(k) * in[k];
    return sum;
}

// N rows of weights by all rows of inputs, in tiles of about the same height. While they are multiplied, the next N rows
// are fetched from memory.
template <class Weight, int N>
static inline void strip(const Op &op, int64_t n, int64_t rows) {
    int64_t tiles = (rows + TILE_M - 1) / TILE_M;
    const int64_t bytes = N * op.inner * Weight::BITS / 8, steps = op.inner / VL;
    const int64_t lines = steps ? (bytes / 64 + tiles * steps - 1) / (tiles * steps) : 0;
    const char *next = (const char *)op.weight + (n + N) * op.inner * Weight::BITS / 8;
    for (int64_t m = 0, height; m < rows; m += height, tiles--, next += lines * steps * 64) {
        const float *in = op.in + m * op.inner;
        float *out = op.out + m * op.width;
        switch (height = (rows - m + tiles - 1) / tiles) {
            case 1: tile<Weight, N, 1>(op, n, in, out, next, lines); break;
            case 2: tile<Weight, N, 2>(op, n, in, out, next, lines); break;
            case 3: tile<Weight, N, 3>(op, n, in, out, next, lines); break;
            case 4: tile<Weight, N, 4>(op, n, in, out, next, lines); break;
            case 5: tile<Weight, N, 5>(op, n, in, out, next, lines); break;
            default: tile<Weight, N, 6>(op, n, in, out, next, lines);
        }
    }
}

// Many rows of inputs: a vector holds one column of VL of them, and each weight is multiplied with a whole vector, so that
// no vector is ever summed up. Weights that are not float32 are widened once for all rows.

template <class Weight>
struct Widened {
    const float *rows[BLOCK_N];
    template <int N>
    void set(const Op &op, int64_t n, float *room) {
        for (int i = 0; i < N; i++) {
            const Weight row(op.weight, op.scale, n + i, op.inner);
            float *to = room + i * (op.inner + VL);  // not a power of two apart, which would share few places of the cache
            int64_t k = 0;
            for (; k + VL <= op.inner; k += VL) *(vf_any *)(to + k) = row.read(k);
            for (; k < op.inner; k++) to[k] = row.one(k);
            rows[i] = to;
        }
    }
};

template <>
struct Widened<Float32> {
    const float *rows[BLOCK_N];
    template <int N>
    void set(const Op &op, int64_t n, float *) {
        for (int i = 0; i < N; i++) rows[i] = (const float *)op.weight + (n + i) * op.inner;
    }
};

template <class Weight, int N>
static inline void block(const Op &op, int64_t n, int64_t rows, const float *columns, float *room) {
    Widened<Weight> weights;
    weights.template set<N>(op, n, room);
    const int64_t bytes = N * op.inner * Weight::BITS / 8, blocks = (rows + VL - 1) / VL, steps = blocks * (op.inner / VL);
    const int64_t lines = steps ? (bytes / 64 + steps - 1) / steps : 0;
    const char *next = (const char *)op.weight + (n + N) * op.inner * Weight::BITS / 8;
    for (int64_t m = 0; m < rows; m += VL, columns += VL * op.inner) {
        vf sums[N] = {};
        for (int64_t start = 0; start < op.inner; start += VL) {
            const int64_t end = start + VL < op.inner ? start + VL : op.inner;
            for (int64_t i = 0; i < lines; i++, next += 64) __builtin_prefetch(next, 0, 2);
            for (int64_t k = start; k < end; k++) {
                const vf x = *(const vf_any *)(columns + k * VL);
                for (int i = 0; i < N; i++) sums[i] += weights.rows[i][k] * x;
            }
        }
        for (int j = 0; j < VL && m + j < rows; j++)
            for (int i = 0; i < N; i++) store(op, n + i, op.out + (m + j) * op.width, sums[i][j]);
    }
}

template <class Weight>
static void linear_of_many(const Op &op, int64_t first, int64_t last, int64_t rows) {
    static thread_local std::vector<float> held, room;
    held.assign((rows + VL - 1) / VL * VL * op.inner, 0.0f);
    room.resize(BLOCK_N * (op.inner + VL));
    for (int64_t row = 0; row < rows; row++)
        for (int64_t k = 0; k < op.inner; k++)
            held[(row / VL * op.inner + k) * VL + row % VL] = op.in[row * op.inner + k];
    int64_t n = first;
    for (; n + BLOCK_N <= last; n += BLOCK_N) block<Weight, BLOCK_N>(op, n, rows, held.data(), room.data());
    for (; n < last; n++) block<Weight, 1>(op, n, rows, held.data(), room.data());
}

template <class Weight>
static void linear_of(const Op &op, int64_t first, int64_t last, int64_t rows) {
    int64_t n = first;
    if (rows == 1) {
        for (; n < last; n++) store(op, n, op.out, dot<Weight>(op, n, op.in));
        return;
    }
    if (4 * rows >= 3 * ((rows + VL - 1) / VL * VL)) return linear_of_many<Weight>(op, first, last, rows);
    for (; n + TILE_N <= last; n += TILE_N) strip<Weight, TILE_N>(op, n, rows);
    for (; n < last; n++) strip<Weight, 1>(op, n, rows);
}
