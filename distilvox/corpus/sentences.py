"""Drawn sentences in five languages: a small grammar, subject verb object place, sometimes two clauses.

What is said should tell nothing of who speaks, so a sentence has no memory of its speaker; only the
language is the speaker's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grammar:
    """Word lists of one language, each entry separated by `|`; any choice makes a sentence."""

    opening: str
    subject: str
    verb: str
    object: str
    place: str
    joint: str


GRAMMARS = {
    "en": Grammar(
        opening="yesterday|last winter|after lunch|every Monday|long ago|in the storm|quite often|at noon",
        subject="the old captain|my neighbour|a young farmer|our teacher|the quiet painter|her cousin|"
        "the tall nurse|a tired clerk|the village baker|your brother|the chief engineer|some visitor",
        verb="found|carried|forgot|bought|described|repaired|lost|borrowed|painted|measured|hid|followed",
        object="a yellow umbrella|the broken clock|seven letters|a heavy wooden box|the missing dog|"
        "two bags of flour|a silver spoon|the wrong map|an empty bottle|the big machine|fresh bread|a joke",
        place="near the harbour|under the bridge|in the garden|at the railway station|behind the church|"
        "on the third floor|among the hills|without a word|in a cold kitchen|for his mother|along the river",
        joint="and then|but later|because|while",
    ),
    "de": Grammar(
        opening="gestern|im letzten Winter|nach dem Essen|jeden Montag|vor langer Zeit|am Abend|ziemlich oft",
        subject="suchte der alte Kapitän|fand meine Nachbarin|trug ein junger Bauer|vergaß unser Lehrer|"
        "kaufte die stille Malerin|verlor ihr Vetter|brachte der Bäcker|versteckte dein Bruder|"
        "zeigte die Ärztin|maß der Schreiner",
        verb="wieder|heimlich|leider|endlich|zuerst|gerne|noch einmal|vorsichtig",
        object="einen gelben Schirm|die kaputte Uhr|sieben Briefe|eine schwere Kiste|den kleinen Hund|"
        "zwei Säcke Mehl|einen silbernen Löffel|die falsche Karte|eine leere Flasche|frisches Brot",
        place="am Hafen|unter der Brücke|im Garten|auf dem Bahnhof|hinter der Kirche|im dritten Stock|"
        "zwischen den Hügeln|ohne ein Wort|in der kalten Küche|für seine Mutter|am Fluss entlang",
        joint="und dann|aber später|doch bald",
    ),
    "es": Grammar(
        opening="ayer|el invierno pasado|después de comer|cada lunes|hace mucho tiempo|al mediodía|a menudo",
        subject="el viejo capitán|mi vecina|un joven granjero|nuestra maestra|el pintor callado|su prima|"
        "la enfermera alta|el panadero del pueblo|tu hermano|la ingeniera|un visitante",
        verb="encontró|llevó|olvidó|compró|describió|reparó|perdió|pintó|midió|escondió|buscó",
        object="un paraguas amarillo|el reloj roto|siete cartas|una caja pesada|el perro perdido|"
        "dos sacos de harina|una cuchara de plata|el mapa equivocado|una botella vacía|pan fresco",
        place="cerca del puerto|debajo del puente|en el jardín|en la estación|detrás de la iglesia|"
        "en el tercer piso|entre las colinas|sin una palabra|en la cocina fría|para su madre|junto al río",
        joint="y luego|pero después|porque|mientras",
    ),
    "fr": Grammar(
        opening="hier|l'hiver dernier|après le repas|chaque lundi|il y a longtemps|vers midi|assez souvent",
        subject="le vieux capitaine|ma voisine|un jeune fermier|notre maîtresse|le peintre muet|sa cousine|"
        "la grande infirmière|le boulanger du village|ton frère|l'ingénieur|un visiteur",
        verb="trouva|porta|oublia|acheta|décrivit|répara|perdit|emprunta|peignit|mesura|cacha|chercha",
        object="un parapluie jaune|la montre cassée|sept lettres|une lourde caisse|le petit chien|"
        "deux sacs de farine|une cuillère d'argent|la mauvaise carte|une bouteille vide|du pain frais",
        place="près du port|sous le pont|dans le jardin|à la gare|derrière l'église|au troisième étage|"
        "entre les collines|sans un mot|dans la cuisine froide|pour sa mère|le long de la rivière",
        joint="et puis|mais plus tard|pendant que",
    ),
    "it": Grammar(
        opening="ieri|l'inverno scorso|dopo pranzo|ogni lunedì|molto tempo fa|verso mezzogiorno|spesso",
        subject="il vecchio capitano|la mia vicina|un giovane contadino|la nostra maestra|il pittore|"
        "sua cugina|l'infermiera alta|il fornaio del paese|tuo fratello|l'ingegnere|un visitatore",
        verb="trovò|portò|dimenticò|comprò|descrisse|riparò|perse|dipinse|misurò|nascose|cercò",
        object="un ombrello giallo|l'orologio rotto|sette lettere|una cassa pesante|il cane smarrito|"
        "due sacchi di farina|un cucchiaio d'argento|la mappa sbagliata|una bottiglia vuota|pane fresco",
        place="vicino al porto|sotto il ponte|nel giardino|alla stazione|dietro la chiesa|al terzo piano|"
        "tra le colline|senza una parola|nella cucina fredda|per sua madre|lungo il fiume",
        joint="e poi|ma più tardi|perché|mentre",
    ),
}
"""Keyed by eSpeak NG's dictionaries. In German the verb comes second, so it sits with the subject."""


def draw_sentence(language: str, random: np.random.Generator) -> str:
    """A sentence of 6 to 20 words in `language`, one of `GRAMMARS`."""
    grammar = GRAMMARS[language]

    def pick(choices: str) -> str:
        words = choices.split("|")
        return words[random.integers(len(words))]

    def clause() -> str:
        return f"{pick(grammar.subject)} {pick(grammar.verb)} {pick(grammar.object)}"

    sentence = f"{clause()} {pick(grammar.place)}"
    if random.random() < 0.5:
        sentence = f"{pick(grammar.opening)} {sentence}"
    if random.random() < 0.1:
        sentence += f", {pick(grammar.joint)} {clause()}"
    return sentence + "."
