// One step of a decoder, token by token: the operations that a captured model is made of (see operations.py).
//
// A program is an array of Op. All threads walk through it together; each takes its share of an operation's rows and
// waits for the others where the next one reads what they wrote. Sums are made in float32 whatever the weights are.
// There is no other entry than `run` (a program) and `multiply` (one linear layer), and no state between calls.

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

#include <vector>

// Vectors of the machine's own width; tiles that fit its registers. Compilers make good code of sums and products of
// vectors, and poor code of conversions between their types: those are spelled out where it matters.
#if defined(__AVX512F__)
#include <immintrin.h>
constexpr int VL = 16, TILE_N = 4, TILE_M = 6, BLOCK_N = 8;
#elif defined(__AVX2__)
#include <immintrin.h>
constexpr int VL = 8, TILE_N = 2, TILE_M = 4, BLOCK_N = 8;
#else
constexpr int VL = 4, TILE_N = 2, TILE_M = 4, BLOCK_N = 8;
#endif

typedef float vf __attribute__((vector_size(VL * 4)));
typedef float vf_any __attribute__((vector_size(VL * 4), aligned(4)));

static inline float wide(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline vf read(const float *from) { return *(const vf_any *)from; }

static inline vf read(const uint16_t *from) {  // bfloat16
#if defined(__AVX512F__)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from)), 16);
#elif defined(__AVX2__)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)from)), 16);
#else
    vf x;
    for (int i = 0; i < VL; i++) x[i] = wide(from[i]);
    return x;
#endif
}

static inline vf read(const int8_t *from) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
#elif defined(__AVX2__)
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from)));
#else
    vf x;
    for (int i = 0; i < VL; i++) x[i] = from[i];
    return x;
#endif
}

static inline vf nibbles(const uint8_t *from, bool high) {  // each less 8
#if defined(__AVX512F__)
    const __m512 values = _mm512_set_ps(7, 6, 5, 4, 3, 2, 1, 0, -1, -2, -3, -4, -5, -6, -7, -8);
    const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)from));
    return (vf)_mm512_permutexvar_ps(high ? _mm512_srli_epi32(bytes, 4) : bytes, values);  // by the low four bits
#elif defined(__AVX2__)
    const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
    const __m256i values = high ? _mm256_srli_epi32(bytes, 4) : _mm256_and_si256(bytes, _mm256_set1_epi32(15));
    return (vf)_mm256_cvtepi32_ps(_mm256_sub_epi32(values, _mm256_set1_epi32(8)));
#else
    vf x;
    for (int i = 0; i < VL; i++) x[i] = (high ? from[i] >> 4 : from[i] & 15) - 8;
    return x;
#endif
}

enum Type : int32_t { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2, INT4 = 3 };
enum Kind : int32_t { EMBED = 0, PLACE = 1, RMS = 2, LAYER = 3, LINEAR = 4, ATTEND = 5, ACTIVATE = 6, GATE = 7, ADD = 8, CAP = 9, CROSS = 10, CHOOSE = 11, MIX = 12, CELL = 13 };
enum Activation : int32_t { NONE = 0, RELU = 1, GELU = 2, GELU_TANH = 3, GELU_QUICK = 4, SILU = 5, TANH = 6, SIGMOID = 7 };

enum Cell : int32_t { ELMAN = 0, GRU = 1, LSTM = 2 };

constexpr int GROUP = 32;  // weights that share a scale

struct Op {
    int32_t kind, type, width, inner, choice, flag, heads, groups;  // width: of what comes out; inner: of what goes in
    float eps, factor, cap, rest;
    const void *weight, *scale, *bias, *more;  // more: sines beside the cosines in `scale`
    float *in, *in2, *in3, *out;
    const float *query_norm, *key_norm;
    int64_t layer, reach;
    int32_t rotary, interleaved;
    int32_t copies, wait;  // copies: experts that each token goes to, or 0; wait: the next operation reads what others write here
};

struct Layer {  // one attention's keys and values, (B, G, room, K)
    void *keys, *values;
    int64_t room, place, begun;  // place: column of the first new token; begun: column at which row starts count from
    int64_t type;
};

struct Memory {  // what one cross-attention made of the encoder's states, (B, S, G, K)
    void *keys, *values;
    int64_t length, type;
    const int64_t *lengths;  // (B,) of which are real, or null
};

struct State {
    int64_t batch, length, past;   // rows, new tokens of each, tokens before them
    const int64_t *tokens, *starts;  // (B, L); (B,) columns in which rows begin
    const Layer *layers;
    const Memory *memories;
    float *scores;  // scratch of each thread
    int64_t n_scores;
};

static inline uint16_t narrow(float value) {  // to the nearest, ties to even
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline float total(vf x) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)x);
#elif defined(__AVX2__)
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
    const __m128 two = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
#else
    float sum = 0;
    for (int i = 0; i < VL; i++) sum += x[i];
    return sum;
#endif
}

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

struct Int8 {
    static constexpr int BITS = 8;
    const int8_t *row;
    const uint16_t *scale;
    Int8() = default;
    Int8(const void *weight, const void *scales, int64_t n, int64_t inner)
        : row((const int8_t *)weight + n * inner), scale((const uint16_t *)scales + n * (inner / GROUP)) {}
    float factor(int64_t k) const { return wide(scale[k / GROUP]); }
    vf raw(int64_t k) const { return ::read(row + k); }
    vf read(int64_t k) const { return raw(k) * factor(k); }
    float one(int64_t k) const { return row[k] * wide(scale[k / GROUP]); }
};

struct Int4 {  // a group of 32 is 16 bytes: its first half in their low nibbles, its second in the high ones
    static constexpr int BITS = 4;
    const uint8_t *row;
    const uint16_t *scale;
    Int4() = default;
    Int4(const void *weight, const void *scales, int64_t n, int64_t inner)
        : row((const uint8_t *)weight + n * (inner / 2)), scale((const uint16_t *)scales + n * (inner / GROUP)) {}
    float factor(int64_t k) const { return wide(scale[k / GROUP]); }
    vf raw(int64_t k) const {
        const int64_t at = k % GROUP;
        return nibbles(row + k / GROUP * (GROUP / 2) + at % (GROUP / 2), at >= GROUP / 2);
    }
    vf read(int64_t k) const { return raw(k) * factor(k); }
    float one(int64_t k) const {
        int64_t group = k / GROUP, at = k % GROUP;
        uint8_t byte = row[group * (GROUP / 2) + at % (GROUP / 2)];
        return ((at >= GROUP / 2 ? byte >> 4 : byte & 15) - 8) * wide(scale[group]);
    }
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

// The same where a group of weights shares a scale: it is multiplied once with the group's sum.
template <class Weight>
static inline float dot_of_groups(const Op &op, int64_t n, const float *in) {
    const Weight row(op.weight, op.scale, n, op.inner);
    vf sums[2] = {};
    for (int64_t k = 0; k < op.inner; k += GROUP) {
        vf group = row.raw(k) * read(in + k);
        for (int i = VL; i < GROUP; i += VL) group += row.raw(k + i) * read(in + k + i);
        sums[k / GROUP % 2] += group * row.factor(k);
    }
    return total(sums[0] + sums[1]);
}

template <>
inline float dot<Int8>(const Op &op, int64_t n, const float *in) { return dot_of_groups<Int8>(op, n, in); }
template <>
inline float dot<Int4>(const Op &op, int64_t n, const float *in) { return dot_of_groups<Int4>(op, n, in); }

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

static void linear(const Op &op, int64_t first, int64_t last, int64_t rows) {
    switch (op.type) {
        case FLOAT32: return linear_of<Float32>(op, first, last, rows);
        case BFLOAT16: return linear_of<BFloat16>(op, first, last, rows);
        case INT8: return linear_of<Int8>(op, first, last, rows);
        default: return linear_of<Int4>(op, first, last, rows);
    }
}

template <class Weight>
static void embed_of(const Op &op, int64_t token, float *out) {
    const Weight row(op.weight, op.scale, token, op.width);
    for (int64_t i = 0; i < op.width; i++)
        out[i] = row.one(i) * op.factor + (op.bias ? ((const float *)op.bias)[i] : 0);
}

static void embed(const Op &op, int64_t token, float *out) {
    switch (op.type) {
        case FLOAT32: return embed_of<Float32>(op, token, out);
        case BFLOAT16: return embed_of<BFloat16>(op, token, out);
        case INT8: return embed_of<Int8>(op, token, out);
        default: return embed_of<Int4>(op, token, out);
    }
}

static inline float activated(float x, int choice) {
    switch (choice) {
        case RELU: return x > 0 ? x : 0;
        case GELU: return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
        case GELU_TANH: return 0.5f * x * (1 + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
        case GELU_QUICK: return x / (1 + expf(-1.702f * x));
        case SILU: return x / (1 + expf(-x));
        case TANH: return tanhf(x);
        case SIGMOID: return 1 / (1 + expf(-x));
        default: return x;
    }
}

// A norm over the `width` values of one token or head.
static void norm(const float *in, float *out, int64_t width, const float *weight, const float *bias, float eps, bool layer) {
    double mean = 0, square = 0;
    if (layer) {
        for (int64_t i = 0; i < width; i++) mean += in[i];
        mean /= width;
    }
    for (int64_t i = 0; i < width; i++) square += (in[i] - mean) * (in[i] - mean);
    float middle = (float)mean, factor = (float)(1 / sqrt(square / width + eps));
    for (int64_t i = 0; i < width; i++) {
        float value = (in[i] - middle) * factor * (weight ? weight[i] : 1.0f);
        out[i] = bias ? value + bias[i] : value;
    }
}

static void rotate(float *x, const Op &op, int64_t position) {
    const int half = op.rotary / 2;
    const float *cosine = (const float *)op.scale + position * half, *sine = (const float *)op.more + position * half;
    for (int i = 0; i < half; i++) {
        float &a = x[op.interleaved ? 2 * i : i], &b = x[op.interleaved ? 2 * i + 1 : i + half];
        float turned = a * cosine[i] - b * sine[i];
        b = a * sine[i] + b * cosine[i];
        a = turned;
    }
}

static inline float value_of(float x) { return x; }
static inline float value_of(uint16_t x) { return wide(x); }
static inline void put(float *to, float x) { *to = x; }
static inline void put(uint16_t *to, float x) { *to = narrow(x); }

// Scores in place to shares that sum to one.
static void soften(float *scores, int64_t count) {
    float highest = -INFINITY;
    for (int64_t s = 0; s < count; s++) highest = scores[s] > highest ? scores[s] : highest;
    double sum = 0;
    for (int64_t s = 0; s < count; s++) sum += scores[s] = expf(scores[s] - highest);
    const float share = (float)(1 / sum);
    for (int64_t s = 0; s < count; s++) scores[s] *= share;
}

template <class Half>
static inline float product(const Half *key, const float *query, int64_t K) {
    const int64_t whole = K / VL * VL;
    vf sums = {};
    for (int64_t i = 0; i < whole; i += VL) sums += read(key + i) * read(query + i);
    float sum = total(sums);
    for (int64_t i = whole; i < K; i++) sum += value_of(key[i]) * query[i];
    return sum;
}

template <class Half>
static inline void mix(float *out, const Half *value, float weight, int64_t K) {
    const int64_t whole = K / VL * VL;
    for (int64_t i = 0; i < whole; i += VL) *(vf_any *)(out + i) += read(value + i) * weight;
    for (int64_t i = whole; i < K; i++) out[i] += value_of(value[i]) * weight;
}

// One head of one new token reads the memory.
template <class Half>
static void cross(const Op &op, const State &state, int64_t token, int64_t head, float *scores) {
    const Memory &memory = state.memories[op.layer];
    const int64_t K = op.width, row = token / state.length, step = (int64_t)op.groups * K;
    const int64_t at = row * memory.length * step + head / (op.heads / op.groups) * K;
    const int64_t count = memory.lengths ? memory.lengths[row] : memory.length;
    const Half *keys = (const Half *)memory.keys + at, *values = (const Half *)memory.values + at;
    const float *query = op.in + (token * op.heads + head) * K;
    float *out = op.out + (token * op.heads + head) * K;
    for (int64_t s = 0; s < count; s++) {
        scores[s] = product(keys + s * step, query, K) * op.factor;
        if (op.cap > 0) scores[s] = op.cap * tanhf(scores[s] / op.cap);
    }
    soften(scores, count);
    memset(out, 0, K * sizeof(float));
    for (int64_t s = 0; s < count; s++) mix(out, values + s * step, scores[s], K);
}

// The heads of one group in one row: new keys and values go into the cache, then each new token attends.
template <class Half>
static void attend(const Op &op, const State &state, int64_t row, int64_t group, float *scores) {
    const Layer &layer = state.layers[op.layer];
    const int64_t K = op.width, per = op.heads / op.groups, L = state.length;
    Half *keys = (Half *)layer.keys + (row * op.groups + group) * layer.room * K;
    Half *values = (Half *)layer.values + (row * op.groups + group) * layer.room * K;
    const int64_t start = state.starts ? state.starts[row] : 0;
    for (int64_t l = 0; l < L; l++) {
        float *key = op.in2 + ((row * L + l) * op.groups + group) * K;
        const float *value = op.in3 + ((row * L + l) * op.groups + group) * K;
        if (op.key_norm) norm(key, key, K, op.key_norm, nullptr, op.eps, false);
        if (op.rotary) rotate(key, op, state.past + l - start);
        for (int64_t i = 0; i < K; i++) {
            put(keys + (layer.place + l) * K + i, key[i]);
            put(values + (layer.place + l) * K + i, value[i]);
        }
    }
    for (int64_t l = 0; l < L; l++) {
        const int64_t end = layer.place + l + 1;
        int64_t first = start - layer.begun;
        if (op.reach >= 0 && end - 1 - op.reach > first) first = end - 1 - op.reach;
        if (first < 0) first = 0;
        for (int64_t head = group * per; head < (group + 1) * per; head++) {
            float *query = op.in + ((row * L + l) * op.heads + head) * K;
            float *out = op.out + ((row * L + l) * op.heads + head) * K;
            if (op.query_norm) norm(query, query, K, op.query_norm, nullptr, op.eps, false);
            if (op.rotary) rotate(query, op, state.past + l - start);
            const float *bias = op.bias ? (const float *)op.bias + head * op.inner : nullptr;  // by distance
            for (int64_t s = first; s < end; s++) {
                float score = product(keys + s * K, query, K) * op.factor;
                if (op.cap > 0) score = op.cap * tanhf(score / op.cap);
                scores[s - first] = bias ? score + bias[end - 1 - s] : score;
            }
            soften(scores, end - first);
            memset(out, 0, K * sizeof(float));
            for (int64_t s = first; s < end; s++) mix(out, values + s * K, scores[s - first], K);
        }
    }
}

// Which experts each token goes to. Copies of tokens lie side by side by the expert that is to read them, so that its
// weights are read once: those of an expert that nobody chose are never touched.
struct Plan {
    int32_t *ends;    // (E + 1,) where the copies for each expert begin, and the end of the last
    int32_t *places;  // (T, copies) where each copy lies
    float *shares;    // (T, copies) of its expert's answer, one in sum
    Plan(const Op &op, int64_t tokens)
        : ends((int32_t *)op.in3), places(ends + op.groups + 1), shares((float *)(places + tokens * op.copies)) {}
};

static void choose(const Op &op, int64_t tokens) {
    const Plan plan(op, tokens);
    const int64_t E = op.groups, K = op.copies;
    for (int64_t e = 0; e <= E; e++) plan.ends[e] = 0;
    for (int64_t t = 0; t < tokens; t++) {
        float *scores = op.in + t * E, sum = 0;
        soften(scores, E);
        for (int64_t k = 0; k < K; k++) {
            int64_t best = 0;
            for (int64_t e = 1; e < E; e++) best = scores[e] > scores[best] ? e : best;
            plan.places[t * K + k] = (int32_t)best;  // the expert, as long as the places are not known
            sum += plan.shares[t * K + k] = scores[best];
            scores[best] = -1;
            plan.ends[best + 1]++;
        }
        for (int64_t k = 0; k < K; k++) plan.shares[t * K + k] /= sum;
    }
    for (int64_t e = 0; e < E; e++) plan.ends[e + 1] += plan.ends[e];
    for (int64_t copy = 0; copy < tokens * K; copy++) {
        const int32_t place = plan.ends[plan.places[copy]]++;  // each becomes where the next expert's begin
        plan.places[copy] = place;
        memcpy(op.out + place * op.width, op.in2 + copy / K * op.width, op.width * sizeof(float));
    }
    for (int64_t e = E; e > 0; e--) plan.ends[e] = plan.ends[e - 1];
    plan.ends[0] = 0;
}

// Rows of every expert's weights by the copies that it reads.
static void linear_of_experts(const Op &op, int64_t first, int64_t last, int64_t tokens) {
    const int64_t bits[] = {32, 16, 8, 4}, weights = (int64_t)op.width * op.inner;
    const Plan plan(op, tokens);
    for (int64_t e = 0; e < op.groups; e++) {
        const int64_t begin = plan.ends[e], rows = plan.ends[e + 1] - begin;
        if (!rows) continue;
        Op one = op;
        one.weight = (const char *)op.weight + e * weights * bits[op.type] / 8;
        one.scale = (const uint16_t *)op.scale + e * weights / GROUP;
        one.in = op.in + begin * op.inner;
        one.out = op.out + begin * op.width;
        linear(one, first, last, rows);
    }
}

// Channels of a recurrent layer's state after one more token: from the products of its input and of its old state, whose
// gates lie side by side in torch's order. An LSTM has a second state, which lies behind the first of all rows.
static void cell(const Op &op, int64_t row, int64_t rows, int64_t first, int64_t last) {
    const int64_t H = op.width, gates = op.choice == GRU ? 3 : op.choice == LSTM ? 4 : 1;
    const float *x = op.in + row * gates * H, *h = op.in2 + row * gates * H;
    float *state = op.in3 + row * H, *second = op.in3 + (rows + row) * H, *out = op.out + row * H;
    for (int64_t i = first; i < last; i++) {
        if (op.choice == GRU) {
            const float reset = activated(x[i] + h[i], SIGMOID), keep = activated(x[H + i] + h[H + i], SIGMOID);
            const float fresh = tanhf(x[2 * H + i] + reset * h[2 * H + i]);
            state[i] = fresh + keep * (state[i] - fresh);
        } else if (op.choice == LSTM) {
            const float in = activated(x[i] + h[i], SIGMOID), keep = activated(x[H + i] + h[H + i], SIGMOID);
            const float shown = activated(x[3 * H + i] + h[3 * H + i], SIGMOID);
            second[i] = keep * second[i] + in * tanhf(x[2 * H + i] + h[2 * H + i]);
            state[i] = shown * tanhf(second[i]);
        } else {
            state[i] = tanhf(x[i] + h[i]);
        }
        out[i] = state[i];
    }
}

static void share(int64_t items, int64_t step, int thread, int threads, int64_t &first, int64_t &last) {
    int64_t steps = (items + step - 1) / step, each = (steps + threads - 1) / threads;
    first = thread * each * step;
    last = first + each * step;
    if (first > items) first = items;
    if (last > items) last = items;
}

static void perform(const Op &op, const State &state, int thread, int threads) {
    const int64_t tokens = state.batch * state.length, rows = tokens * (op.copies ? op.copies : 1);
    int64_t first, last;
    switch (op.kind) {
        case EMBED:
            share(rows, 1, thread, threads, first, last);
            for (int64_t row = first; row < last; row++) embed(op, state.tokens[row], op.out + row * op.width);
            break;
        case PLACE:
            share(rows, 1, thread, threads, first, last);
            for (int64_t row = first; row < last; row++) {
                int64_t position = state.past + row % state.length - (state.starts ? state.starts[row / state.length] : 0);
                const float *added = (const float *)op.weight + position * op.width;
                for (int64_t i = 0; i < op.width; i++) op.out[row * op.width + i] += added[i];
            }
            break;
        case RMS:
        case LAYER:
            share(rows, 1, thread, threads, first, last);
            for (int64_t row = first; row < last; row++)
                norm(op.in + row * op.width, op.out + row * op.width, op.width, (const float *)op.weight,
                     (const float *)op.bias, op.eps, op.kind == LAYER);
            break;
        case LINEAR:
            share(op.width, TILE_N, thread, threads, first, last);
            if (op.copies) linear_of_experts(op, first, last, tokens);
            else linear(op, first, last, rows);
            break;
        case CHOOSE:  // little work, and each part of it waits for the one before
            if (thread == 0) choose(op, tokens);
            break;
        case MIX:
            share(tokens, 1, thread, threads, first, last);
            for (int64_t token = first; token < last; token++) {
                const Plan plan(op, tokens);
                float *out = op.out + token * op.width;
                if (!op.flag) memset(out, 0, op.width * sizeof(float));
                for (int64_t copy = token * op.copies; copy < (token + 1) * op.copies; copy++)
                    mix(out, op.in + plan.places[copy] * op.width, plan.shares[copy], op.width);
            }
            break;
        case ATTEND:
            for (int64_t item = thread; item < state.batch * op.groups; item += threads) {
                float *scores = state.scores + thread * state.n_scores;
                if (state.layers[op.layer].type == FLOAT32) attend<float>(op, state, item / op.groups, item % op.groups, scores);
                else attend<uint16_t>(op, state, item / op.groups, item % op.groups, scores);
            }
            break;
        case CROSS:
            for (int64_t item = thread; item < rows * op.heads; item += threads) {
                float *scores = state.scores + thread * state.n_scores;
                if (state.memories[op.layer].type == FLOAT32) cross<float>(op, state, item / op.heads, item % op.heads, scores);
                else cross<uint16_t>(op, state, item / op.heads, item % op.heads, scores);
            }
            break;
        case ACTIVATE:  // the same shares as the linear layer before it, so nobody waits
        case GATE:
            share(op.width, TILE_N, thread, threads, first, last);
            for (int64_t row = 0; row < rows; row++)
                for (int64_t i = row * op.width + first; i < row * op.width + last; i++)
                    op.out[i] = activated(op.in[i], op.choice) * (op.kind == GATE ? op.in2[i] : 1.0f);
            break;
        case CELL:
            share(op.width, TILE_N, thread, threads, first, last);
            for (int64_t row = 0; row < rows; row++) cell(op, row, rows, first, last);
            break;
        case ADD:
            share(rows * op.width, VL, thread, threads, first, last);
            for (int64_t i = first; i < last; i++)
                op.out[i] += op.in[i] * (op.weight ? ((const float *)op.weight)[i % op.width] : 1.0f);
            break;
        case CAP:
            share(rows * op.width, VL, thread, threads, first, last);
            for (int64_t i = first; i < last; i++) op.out[i] = op.cap > 0 ? op.cap * tanhf(op.in[i] / op.cap) : op.in[i] * op.factor;
            break;
    }
}

extern "C" {

int64_t sizes(int which) {
    const int64_t found[] = {sizeof(Op), sizeof(Layer), sizeof(Memory), sizeof(State)};
    return found[which];
}

void run(const Op *ops, int64_t count, const State *state, int threads) {
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num(), all = omp_get_num_threads();
        for (int64_t i = 0; i < count; i++) {
            perform(ops[i], *state, thread, all);
            if (ops[i].wait) {
#pragma omp barrier
            }
        }
    }
}

// (rows, inner) by weights (width, inner) to (rows, width).
void multiply(const float *in, const void *weight, const void *scale, const float *bias, float *out, int64_t rows,
              int64_t width, int64_t inner, int type, int threads) {
    Op op = {};
    op.type = type, op.width = (int32_t)width, op.inner = (int32_t)inner;
    op.weight = weight, op.scale = scale, op.bias = bias, op.in = (float *)in, op.out = out;
#pragma omp parallel num_threads(threads)
    {
        int64_t first, last;
        share(width, TILE_N, omp_get_thread_num(), omp_get_num_threads(), first, last);
        linear(op, first, last, rows);
    }
}
}
