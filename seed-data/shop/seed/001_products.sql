-- Made-up products of an insect-garden shop.
COPY products (name, price_cents, created_at) FROM stdin;
Solitary bee studio, south-facing	3490	2026-05-01 09:00:00+00
Ladybird bed and breakfast	2290	2026-05-02 09:00:00+00
Earwig residence, flower pot style	1250	2026-05-03 09:00:00+00
Night garden seed mix for moths	680	2026-05-04 09:00:00+00
Butterfly bar with sliced-fruit tray	1890	2026-05-05 09:00:00+00
Bumblebee bunker, felt-lined	4150	2026-05-06 09:00:00+00
Lacewing winter lodge	2750	2026-05-07 09:00:00+00
Hoverfly lagoon, 3 litres	1599	2026-05-08 09:00:00+00
Ground beetle log cabin, self-assembly	1320	2026-05-09 09:00:00+00
Dragonfly perch, set of five	940	2026-05-10 09:00:00+00
Caterpillar lunch: potted nettle	450	2026-05-11 09:00:00+00
Mayfly guest book, one day per page	1190	2026-05-12 09:00:00+00
\.
