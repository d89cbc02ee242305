/* What the C files share: the record that a state holds of a meter, the statistics' plan, and a call's columns. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MEAN, MAX, MIN, RUN, DEVIATION, REST, VOLTAGE, MISMATCH, RESIDUAL, REACTIVE, SERIES };
enum { PARTS = 6, CHANNELS = 7 };
enum { SLOT_S = 900, SLOTS_A_DAY = 96, DAY_S = 86400, HOUR_S = 3600 };
enum { HOT = SLOTS_A_DAY + 4, HISTORY = 56 * SLOTS_A_DAY, RECEPTIVE = 64, PAST = RECEPTIVE + 1, RECENT = 32, HOURS = 25 };
enum { SCORED, WARMING_UP, GAP, LATE, DUPLICATE, REJECTED, ACCEPTED = -1 };
enum { OUT_OF_RANGE = 1, CONFLICT, CLOCK_JUMP }; /* reasons of what is rejected */

#define MISSING (-32768)
#define NO_BYTE 255
#define NEVER (-((int64_t)1 << 40))
#define LATEST ((int64_t)1 << 41)
#define BEYOND ((int64_t)1 << 62)
#define NO_DAY INT32_MIN

typedef struct __attribute__((packed)) { /* as `memory.HOT_DTYPE`, which says what is what */
    int64_t newest, jump_at;
    int32_t cadence, seen, first_day, day;
    int64_t last_power_at, resumed_at, level, slot, closed, sums[PARTS];
    int32_t counts[PARTS];
    int64_t largest, least;
    int32_t slot_run, run;
    uint32_t run_hash;
    double slow_score;
    int64_t slow_slot;
    int16_t slow_why;
    int64_t peak_hour;
    float peaks[HOURS + 1];
    int64_t ev_start, ev_last, ev_peak;
    double ev_score;
    int16_t ev_why;
    int64_t ev_energy, ev_pending, recent_at[RECENT];
    uint32_t recent_hash[RECENT];
    int64_t past_mw[PAST], past_at[PAST];
    uint8_t hot_flag[HOT];
    int64_t hole_from, hole_until, back_at;
    int32_t back;
    int16_t hot[SERIES][HOT];
} Record;

typedef struct { /* one number of the trailing window of a series */
    int32_t series, how, window, log;
} Measure;

typedef struct { /* what does not change from call to call */
    int32_t series, hot, history, width, mean, min, slots_a_day, longest; /* width: slots of all series */
    int32_t measures, lags, days, weeks;             /* lags: 0, then rising; days and weeks are some of them */
    const int32_t *lengths, *offset, *lag, *of_days, *of_weeks;
    const Measure *measure;
    const int64_t *decoded; /* a code's value by its 16 bits */
} Plan;

typedef struct { /* meters as the detector remembers them */
    const int16_t *slots; /* (meters of the call, lengths of all series) */
    const uint8_t *flag;  /* (meters of the call, history) */
    const int64_t *rows;  /* the meters' places in these */
    const char *hot;      /* their records' slots since the profile changed, (series, hot) each */
    int64_t stride;       /* bytes from one record to the next */
} Meters;

typedef struct {
    int32_t series, history, width; /* width: slots of all series */
    const int32_t *lengths, *offset;
    const int32_t *step, *lowest; /* of a coarse series' codes that a byte holds: multiples of `step`; 0: not coarse */
} Layout;

typedef struct { /* a detector's: what it was told, and the scale of its scores */
    double limit_power, limit_other, threshold, offset, codes; /* codes: of a slot a factor e */
    int64_t clock_jump_s, clock_return_readings, warm_up_s, absence_s, settle_s;
    int64_t acceptance_days;
} Rules;

typedef struct { /* one question to the detector; `detector.c` says which function fills what */
    const Plan *plan;
    const Layout *layout;
    const Rules *rules;
    const Record *fresh;
    int64_t expects;                          /* whether there is a sequence model to be asked */
    int64_t meters, readings, many, closings; /* many: readings with power of the round; closings: slots they close */
    Record *records;
    int16_t *slots;
    uint8_t *flag, *changed;
    const int64_t *roll;       /* (meters,) slot of the day at which the profile may change */
    const int64_t *meter, *at; /* (readings,) */
    const double *channels;    /* (7, readings) */
    /* (readings,) what is said of each */
    int64_t *status, *reason, *anew, *print, *why, *energy, *left, *absent, *days;
    double *score, *threshold, *expected, *lower, *upper;
    /* (meters,) the next reading and the last but one; of the round: its readings, and the first of those with power; `rows`: 0, 1 .. */
    int64_t *next, *stop, *begin, *end, *first, *count, *size, *rows;
    /* (many,) of each reading with power: its place in the call, thousandths, what it stands for */
    int64_t *row, *mw, *slot, *cadence, *run;
    double *distance, *surprise, *slow;
    /* (2 many,) of each slot that is judged: whose, its place in the day, the reading that closes it, what stands out */
    int64_t *owner, *place, *by, *of, *because;
    double *worth;
} Call;

static inline int64_t floored(int64_t a, int64_t b) { /* a / b towards minus infinity, b > 0 */
    return a / b - (a % b < 0);
}

void mw_context(const Plan *plan, const int16_t *codes, const uint8_t *flag, int all, int64_t slot, double out[6]);
int mw_accepted(const Plan *plan, const uint8_t *flag, int days);
void mw_levels(const Plan *plan, const Meters *meters, int64_t n, int64_t *out);
