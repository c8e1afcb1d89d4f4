"""Who writes words for a deck in the tests: sentences put together from halves that were written for it by hand."""

import json
import re
from collections.abc import Iterator
from itertools import count
from threading import Lock

HEADS = {
    "dusk": """街の声が軒から軒へほどけてゆき
群青の幕がゆっくりと下りるころ
帰る人の肩から昼の名残がこぼれ
石畳に伸びた影がやわらかくたたまれ
硝子戸の奥で真鍮の笠がひとつ明るみ
古い書物の背が琥珀の色に染まって
茜のひと刷毛が欄干をなでてゆくと
宵の明星を待つ窓辺に椅子が寄せられ
夕べの鐘が遠い塔からわたってきて
葡萄酒の色をした空が屋根に憩い
画集の頁がひとりでに繰られてゆき
沈んだ金の粒が障子の桟にとどまり
長い廊が灯をつないで奥へ導けば
卓の銀器が星の数だけまたたいて
語らいの余韻が天井の梁に昇り
月の舟が中庭の水盤に錨をおろし
夜の帳が絹のひだをつくるなか""",
    "morning": """東の縁から白い糸がほぐれはじめ
露を含んだ葉が一枚ずつ目をひらき
焙じた香りが階段をのぼってゆくと
洗いたての光が机の木目をたどり
小鳥の譜が梢から梢へ書きうつされ
水差しの縁に一日のはじめが満ちて
新しい頁に万年筆の先がおろされ
薄絹のむこうで空が深く息をして
鏡の奥から若い色がよみがえり
磨かれた把手に朝の温度が宿り
食卓の白磁に果実の影がならんで
絵筆を洗う音が廊の先へひびき
高くなる陽が柱の節目を読みあげ
風見の鶏が澄んだ方角をさし示し
正午の鐘が庭の輪郭をととのえて
糸杉の影が短くたたまれるころ
開けはなつ両の扉に世界が訪れ""",
    "seasons": """花の便りがいくつもの庭を越えて
若葉の波が石垣の肩を洗ってゆき
蝉の合唱が梢の穹窿を満たすと
打ち水の輪が敷石に涼をひろげ
薄の穂が月のかたちをなぞって
紅の葉が一枚ずつ歳月をめくり
はじめの雪が彫像の肩に憩うころ
冬木立の線が空に銅版画を刻み
梅の香が去年の約束をたずさえて
藤の房が紫の楽譜を垂らしてゆき
夕立の名残が甕の底に空を映し
実りの籠が軒の下につらなって
銀杏の金が並木の帳簿をうずめ
霜の紋が窓の四隅に咲きそろい
暖炉の薪が森の記憶をほどいて
雁の列が遠い海の消息をはこび
年輪がまたひとつ柱の奥に加わり""",
    "way": """並木が二列の衛士のように居ならび
角をひとつ折れるたびに靴音が澄み
蔓の門がしずかな額縁をつくって
敷石の目地が奥の方角を教えれば
塀の上から枝が会釈をおくり
道しるべの文字が苔にふちどられ
飛び石が歩幅をやわらかく正し
鋳物の扉が重みのある礼を返し
水の音が曲がり角の先で待ちうけ
坪庭の竹が風の通り道を描いて
廊の欄間が光を言葉に訳してゆき
踏み台の三段が旅の終章をなし
敷居の一線が外套の冷気をほどき
画廊のような壁がまなざしを招き
奥の間の書架が地図をひらいて
椅子のくぼみが帰着の印をもち
窓の額が街の遠景を一枚におさめ""",
}
TAILS = {
    "dusk": """住む人の時間に深い艶をのせる
一篇の詩が卓の上に結ばれる
心の波を凪の高さにそろえる
語りつぐ物語の扉がひらかれる
沈黙さえも調度のひとつとなる
まなざしは遠い灯台へ向かう
手のひらに黄金の余白がのこる
迎える椅子に気品がみちてくる
静かな拍手が胸の奥に起こる
この地は夢の劇場の幕をあげる
邸は星々の座席表をひろげる
杯のふちに円い月が浮かぶ
思索は羅針盤の針をさだめる
琴線がひとつの和音にいたる
家名の紋章がほのかに浮かぶ
安らぎが錦の糸を織りあげる
住まいは宵の調べを奏ではじめる""",
    "morning": """志の高さに背すじがそろう
はじまりの一行が書きおこされる
指先に仕事の歓びがよみがえる
澄んだ決意が杯に汲まれてゆく
邸は新しい楽章の指揮をとる
歩みだす足に翼の軽さが宿る
今日という画布が張りなおされる
この地は黎明の名をたまわる
学ぶ人の額に知が照りはえる
胸の時計が清らかな拍を打つ
暮らしの骨格が端正に立ちあがる
果てない眺望が瞳にひらける
住まいは陽の紋章をいただく
手しごとの品に魂が吹きこまれる
まぶしい静物画が仕上がってゆく
家族の声が澄んだ輪唱となる
風の署名が白い紙にのこされる""",
    "seasons": """歳月は邸の品格を彫りあげる
移ろいの美が一冊に綴じられる
巡るものの確かさが胸に根づく
この地は四つの楽章を持ちつづける
時の職人が仕上げの鑿を置く
暮らしは暦の余白に花を挿す
待つことの豊かさが実をむすぶ
記憶の標本がまたひとつ加わる
大地の律動が食卓にとどけられる
住まいは過ぎた日々を宝石に変える
幾世代の誓いが幹に刻まれる
自然という客人が席につく
五感の扉が音もなくひらく
手のうちに小さな宇宙がめぐる
受けつぐ人の声が深みをます
語らずとも心に暦が満ちる
色あいの王国が築かれてゆく""",
    "way": """来る人の胸に序曲がながれる
家路は一筋の物語をおびる
邸は奥ゆかしい微笑で迎える
旅人は主人の顔をとりもどす
喧噪は額縁の外にしりぞく
格式という言葉が形をえる
まなざしに深い奥行きが生まれる
選ばれた一歩が石に刻まれる
この地は都の詩を所有する
思いは遠近法の中心にいたる
誇りある沈黙が扉をとじる
住まいは岬のように人を待つ
招かれた客は歩調をあらためる
暮らしの座標がここに定まる
知の回廊が先へつづいてゆく
たどりついた心に錠がひらく
時をわたる橋の親柱がそびえる""",
}
OPENINGS = (
    """空が深くなり
街がやわらぎ
石垣が語りだし
風がわたってゆき
窓が生まれ
雲がほどけ
道が澄みわたり
庭が息づき
硝子が映しだし
塔が応え
鐘がひろがり
波が寄せ
星座が集い
森が腕をひろげ
時が満ちて""",
    """幕があく。
頁がくられる。
序章が整う。
主が立つ。
楽がひらく。
門がそびえる。
図が描かれる。
約がむすばれる。
季が署する。
都が凪ぐ。
光が住む。
家が名のる。
歌が起こる。
風が止む。
灯がともる。""",
)
CLOSINGS = (
    """受けついだ時の重みを掌に載せて
幾筋もの光を束ねあげたところに
言葉になる前の歓びをかたちとし
往く日と来る日の結び目に立って
街の鼓動と庭の沈黙とを重ね
高みから届く風に名をあたえ
旅の終わりと夢のはじまりに座し
百年の後の景色をも見わたして
人の手と自然の手とが出会い
心の奥の水平線にまで通じ
惜しみない美意識のうちに
遠い日の約束が実を結ぶ場所を
語りつくせぬ余韻をいだいたまま
ひとつの灯を絶やさぬ人のために
選びぬかれた静けさの頂に""",
    """人はこれを邸と呼ぶ。
暮らしは詩の形をとる。
この地は家の名を刻む。
住まいは永遠に触れる。
扉は明日へひらかれる。
誇りは座を占める。
灯は物語の栞となる。
日々は芸術の域に入る。
窓は世界の中心を映す。
品格は影にまで及ぶ。
時は味方につく。
余白はすべてを語る。
都は一幅の絵に収まる。
心は帰る港をもつ。
邸宅は歌いはじめる。""",
)


def scribe() -> "Scribe":
    """A new one, who has used nothing yet."""
    return Scribe()


TURNS = (
    """幕の間
袖の奥
二の章
頁の裏
砂の底
弦の先
帆の陰
星座から
鐘の中
鏡の淵
峰の肩
糸の端
舞の輪
香の煙
書の余白
潮の目
夢の縁
墨の海
雲の峠
炉の前
旅の半ば
環の央""",
    """主役が立つ。
灯が名のる。
朝が座する。
琴が応える。
影が和する。
春が控える。
扉がひらく。
心がほどく。
夜が満ちる。
声が降りる。
花が目ざす。
時が熟する。
風が署名す。
人が見あげ。
石が唱える。
波が返歌す。
鳥が過ぎる。
月が加わる。
空が肯う。
謎が解ける。
道が結ばる。""",
)
LINES = ("opening", "turn", "turn", "closing")
FRAME = {"opening": OPENINGS, "turn": TURNS, "closing": CLOSINGS}


class Scribe:
    """Answers what `teacher run --what words` asks; each pair of halves is used once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._used: dict[str, Iterator[int]] = {key: count() for key in (*HEADS, *FRAME)}

    def __call__(self, system: str, question: str, turns: int) -> str:
        with self._lock:
            found = self._card(question) if question.startswith("現実:") else self._titles(question)
        return json.dumps(found, ensure_ascii=False)

    def _card(self, question: str) -> object:
        hidden = re.findall(r"^伏せる語:(.*)$", question, re.MULTILINE)[0].split("、")
        wordings = re.findall(r"^言い換え (\S+?):(.*)$", question, re.MULTILINE)
        hidden += [text.rstrip("。") for _, text in wordings]
        return {
            "wordings": [
                {
                    "id": key,
                    "values": ["静けさ"],
                    "sentences": [
                        {"thread": thread, "at": at % 5, "text": self._next(thread, hidden)}
                        for at, thread in enumerate(HEADS, n)
                    ],
                }
                for n, (key, _) in enumerate(wordings)
            ]
        }

    def _titles(self, question: str) -> object:
        titles = [line.split(". ", 1)[1] for line in question.split("\n")[1:]]
        return {
            "titles": [
                {
                    "title": title,
                    "thread": list(HEADS)[n % 4],
                    "frames": [[self._next(line, [title]) for line in LINES] for _ in range(2)],
                }
                for n, title in enumerate(titles)
            ]
        }

    def _next(self, kind: str, hidden: list[str]) -> str:
        """The next text of the kind without any of these words."""
        heads, tails = self._halves(kind)
        for n in self._used[kind]:
            head, tail = heads[n % len(heads)], tails[(n + n // len(heads)) % len(tails)]
            text = f"{head}、{tail.rstrip('。')}。"
            if not any(word and word in text for word in hidden):
                return text
        raise AssertionError

    @staticmethod
    def _halves(kind: str) -> tuple[list[str], list[str]]:
        heads, tails = FRAME.get(kind) or (HEADS[kind], TAILS[kind])
        return heads.split("\n"), tails.split("\n")
