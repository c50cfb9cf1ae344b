// Vectors of the machine's own width, and how numbers of each type are read into them.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

// Tiles fit the registers. Compilers make good code of sums and products of
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
