/* Which readings count: arrival order decides, never the wall clock. `ordering.py` says the rules. */

#include "record.h"

/* One number for the values of all channels; missing equals missing, -0.0 equals 0.0. */
static uint32_t print_of(const double *channels, int64_t n, int64_t i) {
    uint64_t total = 0x9E3779B97F4A7C15u;
    for (int k = 0; k < CHANNELS; k++) {
        double value = channels[k * n + i] + 0.0;
        uint64_t bits = 0x7FF8000000000000u;
        if (value == value) memcpy(&bits, &value, sizeof bits);
        total = (total ^ bits) * 0xBF58476D1CE4E5B9u;
        total ^= total >> 29;
    }
    return (uint32_t)(total >> 32);
}

/* Whether a reading has a value that no meter can give. */
static int absurd(const Rules *rules, const double *channels, int64_t n, int64_t i) {
    for (int k = 0; k < CHANNELS; k++) {
        double value = channels[k * n + i];
        if (isinf(value) || (k < 2 ? fabs(value) > rules->limit_power : value < 0 || value > rules->limit_other))
            return 1;
    }
    return 0;
}

typedef struct { /* the last accepted readings; `oldest` is the next to be forgotten */
    int64_t at[RECENT];
    uint32_t print[RECENT];
    int oldest;
} Recent;

static void remember(Recent *recent, int64_t at, uint32_t print) {
    recent->at[recent->oldest] = at;
    recent->print[recent->oldest] = print;
    recent->oldest = (recent->oldest + 1) % RECENT;
}

/* How readings from `begin` on to before `end`, of one meter, stand. */
static void walk(Call *c, Record *r, int64_t begin, int64_t end) {
    Recent recent = {.oldest = 0};
    memcpy(recent.at, r->recent_at, sizeof recent.at);
    memcpy(recent.print, r->recent_hash, sizeof recent.print);
    int64_t limit = c->rules->clock_jump_s, returns = c->rules->clock_return_readings;
    for (int64_t i = begin; i < end; i++) {
        int64_t now = c->at[i];
        int status = ACCEPTED, anew = 0;
        uint32_t print = print_of(c->channels, c->readings, i);
        c->print[i] = print;
        if (absurd(c->rules, c->channels, c->readings, i)) {
            c->status[i] = REJECTED;
            c->reason[i] = OUT_OF_RANGE;
            continue;
        }
        if (now <= r->newest) {
            int known = 0;
            while (known < RECENT && recent.at[known] != now) known++;
            if (known < RECENT) {
                status = recent.print[known] == print ? DUPLICATE : REJECTED;
                if (status == REJECTED) c->reason[i] = CONFLICT;
            } else {
                status = LATE;
                if (r->hole_from < now && now < r->hole_until && (r->back || r->newest - now > limit)) {
                    int64_t since = now - r->back_at;
                    r->back = r->back && 0 < since && since <= limit ? r->back + 1 : 1;
                    r->back_at = now;
                    anew = r->back == returns;
                }
            }
        } else if (r->newest > NEVER && now - r->newest > limit &&
                   !(r->jump_at > NEVER && 0 < now - r->jump_at && now - r->jump_at <= limit)) {
            status = REJECTED;
            c->reason[i] = CLOCK_JUMP;
            r->jump_at = now;
        }
        if (anew) {
            status = ACCEPTED;
            r->hole_until = now;
            for (int k = 0; k < RECENT; k++) remember(&recent, NEVER, 0);
        } else if (status == ACCEPTED && (r->newest == NEVER || now - r->newest > limit)) {
            int since = r->hole_until > NEVER ? 0 : RECENT;
            for (int k = 0; k < RECENT && r->hole_until > NEVER; k++) since += recent.at[k] >= r->hole_until;
            if (since >= returns - 1) r->hole_from = r->newest; /* fewer prove no right clock between two jumps */
            r->hole_until = now;
        }
        if (status == ACCEPTED) {
            r->newest = now;
            r->jump_at = r->back_at = NEVER;
            r->back = 0;
            remember(&recent, now, print);
        }
        c->status[i] = status;
        c->anew[i] = anew;
    }
    for (int k = 0; k < RECENT; k++) {
        int place = (recent.oldest + k) % RECENT;
        r->recent_at[k] = recent.at[place];
        r->recent_hash[k] = recent.print[place];
    }
}

/* How each reading stands in its meter's order, with nothing said of it beyond that yet; where each meter's readings
   are. Answers 1 where they do not stand meter by meter. */
int mw_order(Call *c) {
    for (int64_t i = 0; i < c->readings; i++)
        if (c->meter[i] < (i ? c->meter[i - 1] : 0) || c->meter[i] >= c->meters) return 1;
    for (int64_t i = 0; i < c->readings; i++) {
        c->reason[i] = c->anew[i] = c->energy[i] = c->left[i] = c->absent[i] = 0;
        c->why[i] = c->days[i] = -1;
        c->score[i] = c->threshold[i] = c->expected[i] = c->lower[i] = c->upper[i] = NAN;
    }
    for (int64_t m = 0, i = 0; m < c->meters; m++) {
        c->rows[m] = m;
        c->next[m] = i;
        while (i < c->readings && c->meter[i] == m) i++;
        c->stop[m] = i;
        walk(c, &c->records[m], c->next[m], i);
    }
    return 0;
}
